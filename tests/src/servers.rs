//! The servers of others that tests run beside `tidemark`.

mod s3;
mod azurite;

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::answer::QueryApi;
use crate::http;
use crate::process::{self, Process};
use crate::wait;

pub use azurite::Azurite;
pub use s3::{Keys, S3};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Whether all these programs are installed. Where one is not, says that `test` is skipped;
/// with `TIDEMARK_REQUIRE_SERVERS=1` that is a failure.
///
/// # Panics
/// Where one is missing that is required.
pub fn installed(test: &str, programs: &[&str]) -> bool {
    let runs = |program: &&&str| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    match programs.iter().find(|program| !runs(program)) {
        None => true,
        Some(missing) => {
            skip(test, &format!("{missing} is not installed"));
            false
        }
    }
}

/// The Python that has a module: of the virtual environment in `target/tools/venv`, or the
/// system's. Where neither has it, says that `test` is skipped.
///
/// # Panics
/// Where it is missing and required, as for [`installed`].
pub fn python_with(test: &str, module: &str) -> Option<PathBuf> {
    let pythons = [tools().join("venv/bin/python"), PathBuf::from("python3")];
    let has_module = |python: &PathBuf| {
        let mut command = Command::new(python);
        command
            .args(["-c", &format!("import {module}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = pythons.into_iter().find(has_module);
    if found.is_none() {
        skip(test, &format!("no python3 has the module {module}"));
    }
    found
}

/// The folder `target/tools`, where the gate installs what tests need.
fn tools() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    // target/<profile>/deps/<test>
    let target = own.ancestors().nth(3);
    let target = target.expect("tests lie in target/<profile>/deps");
    target.join("tools")
}

/// Says that a test is skipped, or fails where nothing may be.
///
/// # Panics
/// With `TIDEMARK_REQUIRE_SERVERS=1`.
pub fn skip(test: &str, reason: &str) {
    let required = std::env::var_os("TIDEMARK_REQUIRE_SERVERS").is_some_and(|value| value != "0");
    assert!(!required, "{test} may not be skipped: {reason}");
    // Not `eprintln!`: the harness of `cargo test` swallows that of a test that passes.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
}

/// A running `prometheus-node-exporter`.
#[derive(Debug)]
pub struct NodeExporter {
    /// Where it is scraped.
    pub address: SocketAddr,
    _process: Process,
}

impl NodeExporter {
    /// Starts one whose log goes to `folder`.
    ///
    /// # Panics
    /// Where it does not answer.
    pub fn start(folder: &Path) -> Self {
        let address = process::free_address();
        let mut command = Command::new("prometheus-node-exporter");
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start(&mut command, &folder.join("node_exporter.log"));
        wait::until("node_exporter to answer", READY_LIMIT, || {
            let answer = http::send(address, "GET", "/metrics", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        Self {
            address,
            _process: process,
        }
    }
}

/// A running `prometheus`.
#[derive(Debug)]
pub struct Prometheus {
    /// Where its API is.
    pub address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// Starts one on an empty database in `folder`.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start(folder: &Path, configuration: &str) -> Self {
        Self::start_with(folder, configuration, &[])
    }

    /// The same with more flags.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start_with(folder: &Path, configuration: &str, flags: &[&str]) -> Self {
        let address = process::free_address();
        let path = folder.join("prometheus.yml");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(flags);
        fs::write(&path, configuration).expect("the configuration can be written");
        let process = Process::start(&mut command, &folder.join("prometheus.log"));
        wait::until("prometheus to be ready", READY_LIMIT, || {
            let ready = http::send(address, "GET", "/-/ready", &[], b"").ok()?;
            (ready.status == 200).then_some(())
        });
        Self {
            address,
            _process: process,
        }
    }

    /// Its query API.
    pub fn query_api(&self) -> QueryApi {
        QueryApi {
            address: self.address,
            prefix: "",
            tenant: None,
        }
    }

    /// The sum over all series of one of its own metrics, as of now.
    ///
    /// # Panics
    /// Where it does not answer.
    pub fn own_metric(&self, name: &str) -> f64 {
        let page = http::send(self.address, "GET", "/metrics", &[], b"").expect("an answer");
        let page = page.text();
        let lines = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.strip_prefix('{').map_or(Some(rest), |rest| {
                let end = rest.rfind('}')?;
                Some(&rest[end + 1..])
            })?;
            value.starts_with(' ').then(|| value.trim().parse::<f64>())
        });
        lines.map(|value| value.expect("a number")).sum()
    }
}
