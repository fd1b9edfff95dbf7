//! A real `tidemark`, on a data folder that outlives it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::answer::QueryApi;
use crate::http::{self, Response};
use crate::process::{self, Process};
use crate::remote_write::{self, Series, Version};
use crate::{binary, wait};

/// Replaying what a test wrote takes far less.
const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A process, or the place where one was.
#[derive(Debug)]
pub struct Tidemark {
    process: Option<Process>,
    /// Where its HTTP API is.
    pub address: SocketAddr,
    grpc: SocketAddr,
    data: PathBuf,
    arguments: Vec<String>,
    abort_at: Option<String>,
    folder: TempDir,
}

impl Tidemark {
    /// Starts one on an empty folder and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        Self::start_on(folder, &data, arguments)
    }

    /// Starts one whose data lie in `data`; its log lies in `folder`.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start_on(folder: TempDir, data: &Path, arguments: &[&str]) -> Self {
        let mut tidemark = Self {
            process: None,
            address: process::free_address(),
            grpc: process::free_address(),
            data: data.to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            abort_at: None,
            folder,
        };
        tidemark.restart();
        tidemark
    }

    /// Starts it again where it was, after [`Tidemark::kill`] or [`Tidemark::stop`].
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn restart(&mut self) {
        let mut command = Command::new(binary::tidemark());
        command
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--http-listen", &self.address.to_string()])
            .args(["--grpc-listen", &self.grpc.to_string()])
            .args(&self.arguments)
            .envs(self.abort_at.iter().map(|step| ("TIDEMARK_ABORT_AT", step)));
        let log = self.folder.path().join("tidemark.log");
        let mut process = Process::start(&mut command, &log);
        wait::until("/ready to answer 200", READY_LIMIT, || {
            if let Some(status) = process.exited() {
                panic!("tidemark ended with {}", process::describe(status));
            }
            let ready = http::send(self.address, "GET", "/ready", &[], b"").ok()?;
            (ready.status == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as `kill -9` does while others still use it; [`Tidemark::kill`] tidies up.
    ///
    /// # Panics
    /// Where it was killed before.
    pub fn kill_in_use(&self) {
        self.process
            .as_ref()
            .expect("it was not killed")
            .signal("KILL");
    }

    /// Ends it gracefully.
    ///
    /// # Panics
    /// Where it takes too long.
    pub fn stop(&mut self) -> ExitStatus {
        self.process().stop(STOP_LIMIT)
    }

    /// The process.
    ///
    /// # Panics
    /// Where it was killed.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was not killed")
    }

    /// Where its data lie.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its query API, for one tenant or for the one that is there by default.
    pub fn query_api(&self, tenant: Option<&str>) -> QueryApi {
        QueryApi {
            address: self.address,
            prefix: "/prometheus",
            tenant: tenant.map(str::to_owned),
        }
    }

    /// GETs a path.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn get(&self, target: &str) -> Response {
        http::send(self.address, "GET", target, &[], b"").expect("an answer")
    }

    /// Lets it abort before a step of shipping, or not, from the next start on.
    pub fn abort_at(&mut self, step: Option<&str>) {
        self.abort_at = step.map(str::to_owned);
    }

    /// Lets it put all that it has in memory into blocks in its bucket.
    ///
    /// # Panics
    /// Where that fails.
    pub fn flush(&self) {
        let answer = http::send(self.address, "POST", "/ingester/flush", &[], b"");
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Sends series as a Prometheus would.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn push(
        &self,
        version: Version,
        tenant: Option<&str>,
        series: &[Series],
    ) -> io::Result<Response> {
        let body = remote_write::encode(version, series);
        self.push_body(version, tenant, &remote_write::compress(&body))
    }

    /// Sends bytes as if they were a compressed request.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn push_body(
        &self,
        version: Version,
        tenant: Option<&str>,
        body: &[u8],
    ) -> io::Result<Response> {
        let mut headers = version.headers().to_vec();
        headers.extend(tenant.map(|id| ("X-Scope-OrgID", id)));
        http::send(self.address, "POST", "/api/v1/push", &headers, body)
    }
}
