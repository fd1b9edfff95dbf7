//! Puts a configuration together: defaults, then the file, then flags; each refusal says where
//! the value came from and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use super::lines::line_of;
use super::secrets::{may_hold_secret, names_secret};
use super::substitute::substitute;
use super::{Complaint, Config};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How much of a wrong line is shown, in bytes.
const MAX_SHOWN: usize = 80;

/// What is said of a value in place of the fault, which could show it.
const HIDDEN: &str = "the fault is not shown, as it could show a secret; correct the syntax or the \
     type of the value; `tidemark config print-defaults` shows every key with its default";

/// One key set on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The key, as a dotted path: `storage.data_dir`.
    pub key: String,
    /// Its value, as it would stand in the file.
    pub value: String,
    /// The flag as the user wrote it, without secrets, for errors.
    pub flag: String,
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overrides({})", self.flag)
    }
}

impl Overrides {
    /// A fault of its value: as it is, unless it could show a secret.
    fn fault(&self, message: String) -> String {
        let is_secret = names_secret(&self.key) || names_secret(&self.value);
        if is_secret {
            HIDDEN.to_owned()
        } else {
            message
        }
    }
}

/// A configuration file that was read.
struct ConfigFile<'a> {
    path: &'a Path,
    /// As it lies on the disk.
    written: String,
    /// With its variables replaced.
    text: String,
}

impl ConfigFile<'_> {
    fn line(&self, number: usize) -> &str {
        let line = self.written.lines().nth(number.saturating_sub(1));
        line.unwrap_or_default().trim()
    }

    /// What a message about the key of a line says: it shows names, and no value.
    fn unknown_key(&self, line: usize, message: &str) -> Option<ConfigError> {
        let (unknown, _) = unknown_field(message)?;
        let (key, _) = self.line(line).split_once(':')?;
        (key == unknown).then(|| ConfigError::Line {
            path: self.path.to_owned(),
            line,
            message: format!("`{key}`: {}", with_remedy(message)),
        })
    }

    /// An error of a line, from 1. What is wrong with it is held back where that could show a
    /// secret; so is the line, of which never more is shown than lies on the disk.
    fn error(&self, line: usize, message: impl FnOnce(&str) -> String) -> ConfigError {
        let message = if may_hold_secret(&self.written, line) {
            HIDDEN.to_owned()
        } else {
            let given = self.line(line);
            message(&given[..given.floor_char_boundary(MAX_SHOWN)])
        };
        ConfigError::Line {
            path: self.path.to_owned(),
            line,
            message,
        }
    }
}

/// Why there is no configuration. The text names the place, the fault and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        message: String,
    },
    /// A line of the file is wrong.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and the remedy.
        message: String,
    },
    /// A flag is wrong.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag, as it was given.
        flag: String,
        /// What is wrong and the remedy.
        message: String,
    },
}

/// Reads `path`, if there is one, and sets the overrides in their order.
///
/// # Errors
/// Where the file can't be read or is not YAML, and for unknown keys, bad values and
/// contradictions.
pub fn load(
    path: Option<&Path>,
    overrides: &[Overrides],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let file = path.map(|path| read(path, env)).transpose()?;
    let mut config = match &file {
        Some(file) => parse(file)?,
        None => Config::default(),
    };
    for one in overrides {
        config = set(&config, one)?;
    }
    config
        .check()
        .map_err(|complaint| locate(complaint, file.as_ref(), overrides))?;
    Ok(config)
}

fn read<'a>(
    path: &'a Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<ConfigFile<'a>, ConfigError> {
    let fail = |message: String| ConfigError::File {
        path: path.to_owned(),
        message,
    };
    let unreadable = |e: std::io::Error| {
        fail(format!(
            "can't be read: {e}; check the path given to --config"
        ))
    };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(fail(format!(
            "is {} bytes long, the limit is {MAX_FILE_BYTES}; is this the configuration file?",
            meta.len()
        )));
    }
    let written = std::fs::read_to_string(path).map_err(unreadable)?;
    let text = substitute(&written, env).map_err(|e| ConfigError::Line {
        path: path.to_owned(),
        line: e.line,
        message: format!("the line {}", e.message),
    })?;
    Ok(ConfigFile {
        path,
        written,
        text,
    })
}

fn parse(file: &ConfigFile<'_>) -> Result<Config, ConfigError> {
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    };
    if file.text.lines().all(blank) {
        return Ok(Config::default());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&file.text, options).map_err(|error| {
        let line = error
            .location()
            .map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
        let formatter = serde_saphyr::UserMessageFormatter;
        let shown = error.render_with_formatter(&formatter);
        let (line, shown) = (line.max(1), strip_place(&shown));
        let faulty = || file.error(line, |given| format!("`{given}`: {}", with_remedy(shown)));
        let unknown = may_hold_secret(&file.written, line)
            .then(|| file.unknown_key(line, shown))
            .flatten();
        unknown.unwrap_or_else(faulty)
    })
}

/// Takes the place off the end of a parser's message: ours stands in front.
fn strip_place(message: &str) -> &str {
    let message = message.lines().next().unwrap_or_default();
    message
        .rfind(" at line ")
        .map_or(message, |at| &message[..at])
}

/// Adds what to do to a message of serde's.
fn with_remedy(message: &str) -> String {
    let all = "`tidemark config print-defaults` shows every key";
    let remedy = if let Some((unknown, known)) = unknown_field(message) {
        let near = known.iter().map(|k| (distance(unknown, k), k)).min();
        match near.filter(|(steps, _)| *steps <= 1 + unknown.len() / 3) {
            Some((_, key)) => format!("did you mean `{key}`? {all}"),
            None => format!("remove it, or indent it under its section; {all}"),
        }
    } else if message.contains("invalid type: unit") || message.contains("null") {
        format!("give it a value, or remove the key; {all}")
    } else {
        format!("correct the value; {all} with its default")
    };
    format!("{message}; {remedy}")
}

/// The names in a message about a field that does not exist: that one, and those that do.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest
        .split_once("expected one of ")
        .map_or("", |(_, names)| names);
    Some((
        unknown,
        known
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .collect(),
    ))
}

/// How many letters must be put in, left out or replaced to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Sets one key: the rest of the tree is carried over as it is.
fn set(config: &Config, one: &Overrides) -> Result<Config, ConfigError> {
    let fail = |message: String| ConfigError::Flag {
        flag: one.flag.clone(),
        message,
    };
    let mut tree = serde_json::to_value(config).map_err(|e| fail(e.to_string()))?;
    // Secrets are not shown, so that the tree lacks the one there is.
    tree["storage"]["bucket"]["secret_access_key"] =
        Value::String(config.storage.bucket.secret_access_key.0.clone());
    let place = find(&mut tree, &one.key).map_err(fail)?;
    *place = match place {
        Value::Object(_) => {
            let message = format!(
                "`{}` is a section; name a key within it, such as {}",
                one.key,
                first_key(place, &one.key)
            );
            return Err(fail(message));
        }
        // Durations, sizes, addresses and names are text, however much they look like numbers.
        Value::String(_) => Value::String(one.value.clone()),
        _ => serde_saphyr::from_str(&one.value)
            .map_err(|e| fail(one.fault(with_remedy(strip_place(&e.to_string())))))?,
    };
    Config::deserialize(tree).map_err(|e| fail(one.fault(with_remedy(&e.to_string()))))
}

fn find<'a>(tree: &'a mut Value, key: &str) -> Result<&'a mut Value, String> {
    let mut place = tree;
    for part in key.split('.') {
        let known: Vec<String> = place
            .as_object()
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default();
        let Some(next) = place.get_mut(part) else {
            let expected: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
            let expected = if expected.is_empty() {
                "there are no keys below".to_owned()
            } else {
                format!("expected one of {}", expected.join(", "))
            };
            return Err(with_remedy(&format!("unknown field `{part}`, {expected}")));
        };
        place = next;
    }
    Ok(place)
}

fn first_key(section: &Value, path: &str) -> String {
    let key = section.as_object().and_then(|map| map.keys().next());
    format!("{path}.{}", key.map_or("", String::as_str))
}

/// Says where the value came from that a check complained about.
fn locate(
    complaint: Complaint,
    file: Option<&ConfigFile<'_>>,
    overrides: &[Overrides],
) -> ConfigError {
    let message = format!("{} {}", complaint.key, complaint.message);
    if let Some(one) = overrides.iter().rev().find(|one| one.key == complaint.key) {
        let flag = one.flag.clone();
        let message = match names_secret(complaint.key) {
            // Said of a secret, and knows better than to show it.
            true => message,
            false => one.fault(message),
        };
        return ConfigError::Flag { flag, message };
    }
    let place = file.and_then(|file| line_of(&file.text, complaint.key).map(|line| (file, line)));
    match place {
        Some((file, line)) if names_secret(complaint.key) => ConfigError::Line {
            path: file.path.to_owned(),
            line,
            message,
        },
        Some((file, line)) => file.error(line, |_| message),
        // A default that a value set elsewhere contradicts.
        None => ConfigError::Flag {
            flag: "configuration".to_owned(),
            message,
        },
    }
}

#[cfg(test)]
mod tests;
