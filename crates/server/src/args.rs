//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt as _};

use crate::bucket_cli::{self, BucketCommand};
use crate::config::{Overrides, without_secret};

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run until a signal comes.
    Run(Source),
    /// Say whether the configuration is good.
    Check(Source),
    /// Print every key with its meaning.
    PrintDefaults,
    /// Measure blocks.
    BenchBlock(BenchBlock),
    /// Look into the bucket, or make its catalogs anew.
    Bucket(BucketCommand, Source),
    /// Print the version.
    Version,
    /// Print how to use the program.
    Help,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file, if one is given.
    pub file: Option<PathBuf>,
    /// Keys set by flags, in their order.
    pub overrides: Vec<Overrides>,
}

/// Which blocks are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchBlock {
    /// A block, or a folder of blocks; where none is given, synthetic ones are made.
    pub folder: Option<PathBuf>,
    /// What synthetic blocks are made from.
    pub seed: u64,
}

/// What `--help` prints.
pub const HELP: &str = "\
tidemark: a long-term store for Prometheus metrics

Usage:
  tidemark [flags]               run
  tidemark config check [FILE]   check a configuration file, with the flags given
  tidemark config print-defaults print every key with its default and its meaning
  tidemark bench block [DIR]     sizes and speed of a block, of a folder of blocks, or of synthetic
                                 blocks in a temporary folder, made from --seed NUMBER
  tidemark bucket ls             list blocks; --json for programs
  tidemark bucket inspect BLOCK  files and columns of a block, and their bytes a sample
  tidemark bucket verify [BLOCK] check every byte of a block, or of all
  tidemark bucket cat BLOCK [SELECTOR]
                                 print the samples of a block, or of series such as 'up{job=\"node\"}'
  tidemark bucket remove BLOCK   take a block out of the catalog for good; the server is stopped
  tidemark catalog rebuild       make the list of blocks anew from the bucket; the server is stopped

Flags:
  --config FILE         read this YAML file; ${VAR:default} is replaced from the environment
  --data-dir DIR        storage.data_dir    (./data)
  --bucket-url URL      storage.bucket.url  (the folder `bucket` in the data directory)
  --block-duration TIME storage.block_duration (2h)
  --http-listen ADDR    server.http_listen  (0.0.0.0:8080)
  --grpc-listen ADDR    server.grpc_listen  (0.0.0.0:9095)
  --log-level LEVEL     log.level           (info)
  --log-format FORMAT   log.format: text or json
  --multitenancy        take the tenant from the header X-Scope-OrgID
  --target TARGET       which roles run: all
  --tenant TENANT       look at this tenant's blocks only (bucket, catalog)
  --set KEY=VALUE       set any key of the file, such as limits.max_series=100000; repeatable
  --version             print the version
  --help                print this

Exit codes: 0 done, 1 failed or found damage, 2 wrong configuration or usage.
";

/// Flags that set one key.
const FLAGS: [(&str, &str); 8] = [
    ("data-dir", "storage.data_dir"),
    ("bucket-url", "storage.bucket.url"),
    ("block-duration", "storage.block_duration"),
    ("http-listen", "server.http_listen"),
    ("grpc-listen", "server.grpc_listen"),
    ("log-level", "log.level"),
    ("log-format", "log.format"),
    ("target", "target"),
];

/// Understands the arguments, the program's name left out.
///
/// # Errors
/// The text for the user, where an argument is unknown or lacks its value.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut source = Source::default();
    let mut words: Vec<String> = Vec::new();
    let mut seed = None;
    let mut flags = bucket_cli::Flags::default();
    let usage = |e: lexopt::Error| format!("{e}; `tidemark --help` lists the flags");
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Long("config") => source.file = Some(PathBuf::from(parser.value().map_err(usage)?)),
            Long("multitenancy") => source
                .overrides
                .push(multitenancy(parser.optional_value())?),
            Long("set") => {
                let text = parser.value().and_then(|v| v.string()).map_err(usage)?;
                source.overrides.push(assignment(&text)?);
            }
            Long("json") => flags.json = true,
            Long("tenant") => {
                let tenant = parser.value().and_then(|v| v.string());
                flags.tenant = Some(tenant.map_err(usage)?);
            }
            Long("seed") => {
                let value = parser.value().and_then(|v| v.parse::<u64>());
                seed = Some(value.map_err(usage)?);
            }
            Long(name) => {
                let Some((flag, key)) = FLAGS.iter().find(|(flag, _)| *flag == name) else {
                    return Err(usage(arg.unexpected()));
                };
                let value = parser.value().and_then(|v| v.string()).map_err(usage)?;
                source.overrides.push(Overrides {
                    key: (*key).to_owned(),
                    flag: format!("--{flag} {value}"),
                    value,
                });
            }
            Value(word) => words.push(word.string().map_err(usage)?),
            Short(_) => return Err(usage(arg.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(command) = bucket_cli::understand(&words, &flags) {
        if seed.is_some() {
            return Err(SEED_IS_FOR.to_owned());
        }
        return Ok(Command::Bucket(command?, source));
    }
    if flags != bucket_cli::Flags::default() {
        return Err("--tenant and --json are for `bucket` and `catalog`".to_owned());
    }
    command(&words, source, seed)
}

/// What is said where the flag stands elsewhere.
const SEED_IS_FOR: &str = "--seed is for `bench block` without a folder";

fn command(words: &[&str], mut source: Source, seed: Option<u64>) -> Result<Command, String> {
    if seed.is_some() && words != ["bench", "block"] {
        return Err(SEED_IS_FOR.to_owned());
    }
    match words {
        [] => Ok(Command::Run(source)),
        ["config", "print-defaults"] => Ok(Command::PrintDefaults),
        ["config", "check"] => Ok(Command::Check(source)),
        ["config", "check", file] => {
            if source.file.is_some() {
                return Err("two files are given; leave --config out, or the argument".to_owned());
            }
            source.file = Some(PathBuf::from(file));
            Ok(Command::Check(source))
        }
        ["bench", "block"] => Ok(Command::BenchBlock(BenchBlock {
            folder: None,
            seed: seed.unwrap_or(block::families::SEED),
        })),
        ["bench", "block", folder] => Ok(Command::BenchBlock(BenchBlock {
            folder: Some(PathBuf::from(folder)),
            seed: block::families::SEED,
        })),
        other => Err(format!(
            "unknown command {:?}; there are `config check [FILE]`, `config print-defaults`, \
             `bench block [DIR]`, `bucket ls|inspect|verify|cat|remove` and `catalog rebuild`",
            other.join(" ")
        )),
    }
}

fn assignment(text: &str) -> Result<Overrides, String> {
    let flag = format!("--set {}", without_secret(text));
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!(
            "{flag}: has no value; write --set path.to.key=value"
        ));
    };
    Ok(Overrides {
        key: key.trim().to_owned(),
        value: value.to_owned(),
        flag,
    })
}

fn multitenancy(value: Option<OsString>) -> Result<Overrides, String> {
    let value = value.unwrap_or_else(|| "true".into());
    let value = value
        .into_string()
        .map_err(|_| "--multitenancy: use true or false".to_owned())?;
    Ok(Overrides {
        key: "multitenancy".to_owned(),
        flag: format!("--multitenancy={value}"),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn understands_the_flags() {
        let Ok(Command::Run(source)) = run(&[
            "--config",
            "a.yaml",
            "--data-dir=/d",
            "--bucket-url=s3://b/p",
            "--block-duration=1h",
            "--http-listen",
            "127.0.0.1:1",
            "--multitenancy",
            "--set",
            "limits.max_series=5",
            "--target",
            "all",
        ]) else {
            panic!("not understood");
        };
        assert_eq!(source.file, Some(PathBuf::from("a.yaml")));
        let pairs: Vec<(&str, &str)> = source
            .overrides
            .iter()
            .map(|o| (o.key.as_str(), o.value.as_str()))
            .collect();
        let expected = [
            ("storage.data_dir", "/d"),
            ("storage.bucket.url", "s3://b/p"),
            ("storage.block_duration", "1h"),
            ("server.http_listen", "127.0.0.1:1"),
            ("multitenancy", "true"),
            ("limits.max_series", "5"),
            ("target", "all"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(
            run(&["config", "print-defaults"]),
            Ok(Command::PrintDefaults)
        );
        assert!(matches!(
            run(&["config", "check", "f"]),
            Ok(Command::Check(_))
        ));
        let bench = |folder: Option<&str>, seed: u64| {
            let folder = folder.map(PathBuf::from);
            Ok(Command::BenchBlock(BenchBlock { folder, seed }))
        };
        let seed = block::families::SEED;
        assert_eq!(run(&["bench", "block"]), bench(None, seed));
        assert_eq!(run(&["bench", "block", "--seed", "7"]), bench(None, 7));
        assert_eq!(run(&["bench", "block", "d"]), bench(Some("d"), seed));
        assert_eq!(run(&["--version"]), Ok(Command::Version));
        assert_eq!(run(&["-h"]), Ok(Command::Help));
    }

    #[test]
    fn refuses_with_the_remedy() {
        let check = |args: &[&str], part: &str| {
            let error = run(args).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(&["--nope"], "--help");
        check(&["--set", "a"], "path.to.key=value");
        check(&["--config"], "missing argument");
        check(&["serve"], "config check");
        check(&["--seed", "x", "bench", "block"], "invalid");
        check(&["--seed", "1"], "bench block");
        check(&["bench", "block", "d", "--seed", "1"], "without a folder");
        check(&["--config", "a", "config", "check", "b"], "two files");
    }
}
