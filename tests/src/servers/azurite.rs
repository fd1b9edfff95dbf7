//! A server of Azure's blobs (Azurite), which checks signatures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{skip, tools};
use crate::process::{self, Process};
use crate::{http, wait};

/// What its clean start takes on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// What allows the emulator's account to make containers, until 2099: an account SAS, signed with
/// [`Azurite::KEY`] over permissions `rwdlac`, service `b`, resources `sco` and version 2020-10-02.
const MAY_DO_ALL: &str = "sp=rwdlac&ss=b&srt=sco&se=2099-01-01T00%3A00%3A00Z&spr=https%2Chttp\
                          &sv=2020-10-02&sig=eiqK1mR5dgnhM1tOj58lVUMnX8hn3%2B6hGt4cbRlMi70%3D";

/// A running server with one container, `blocks`.
#[derive(Debug)]
pub struct Azurite {
    address: SocketAddr,
    _process: Process,
}

impl Azurite {
    /// The account that every such server has.
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// Its key, which Microsoft publishes.
    pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                           K1SZFPTOtr/KBHBeksoGMGw==";

    /// Starts one whose log goes to `folder`. Where it is not installed, says that `test` is
    /// skipped.
    ///
    /// # Panics
    /// Where it does not answer, or is missing and required.
    pub fn start(test: &str, folder: &Path) -> Option<Self> {
        let Some(program) = program() else {
            skip(test, "azurite is not installed");
            return None;
        };
        let address = process::free_address();
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port])
            .args(["--inMemoryPersistence", "--disableTelemetry"])
            // Clients may speak a newer version of the API.
            .arg("--skipApiVersionCheck");
        let process = Process::start(&mut command, &folder.join("azurite.log"));
        let account = Self::ACCOUNT;
        let target = format!("/{account}/blocks?restype=container&{MAY_DO_ALL}");
        wait::until("the Azure server to make a container", READY_LIMIT, || {
            let made = http::send(address, "PUT", &target, &[], b"").ok()?;
            (made.status == 201).then_some(())
        });
        Some(Self {
            address,
            _process: process,
        })
    }

    /// Its address as an endpoint: the account stands in the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{}", self.address, Self::ACCOUNT)
    }
}

/// The program of `target/tools/azurite`, if it is there and what it runs on too.
fn program() -> Option<PathBuf> {
    let program = tools().join("azurite/node_modules/.bin/azurite-blob");
    let mut node = Command::new("node");
    node.arg("--version").stdout(Stdio::null());
    let runs = node.status().is_ok_and(|status| status.success());
    (program.exists() && runs).then_some(program)
}
