//! An S3 server (moto), with users and what each may do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::http::{self, Response};
use crate::process::{self, Process};
use crate::{servers, wait};

/// What its clean start takes on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// The server tells by the name of the service who is asked; it is not a signature.
const IAM: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/iam/aws4_request, SignedHeaders=host, \
     Signature=x",
);

/// A running S3 server with one bucket, `blocks`. Whoever asks may do everything, until
/// [`S3::check_access`].
#[derive(Debug)]
pub struct S3 {
    /// Where it is.
    pub address: SocketAddr,
    _process: Process,
}

/// What a user signs with.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key's id.
    pub id: String,
    /// The key.
    pub secret: String,
}

impl S3 {
    /// Starts one whose log goes to `folder`. Where it is not installed, says that `test` is
    /// skipped.
    ///
    /// # Panics
    /// Where it does not answer, or is missing and required.
    pub fn start(test: &str, folder: &Path) -> Option<Self> {
        let python = servers::python_with(test, "moto.server")?;
        let address = process::free_address();
        let port = address.port().to_string();
        let mut command = Command::new(python);
        let start = "from moto.server import main; main()";
        command
            .args(["-c", start, "-H", "127.0.0.1", "-p", &port])
            .env("MOTO_S3_CUSTOM_ENDPOINTS", format!("http://{address}"));
        let process = Process::start(&mut command, &folder.join("moto.log"));
        wait::until("the S3 server to make a bucket", READY_LIMIT, || {
            let made = http::send(address, "PUT", "/blocks", &[], b"").ok()?;
            (made.status == 200).then_some(())
        });
        Some(Self {
            address,
            _process: process,
        })
    }

    /// Its address as an endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, signatures and policies count.
    ///
    /// # Panics
    /// Where it refuses.
    pub fn check_access(&self) {
        self.unchecked_requests("0");
    }

    /// Makes a user who may do nothing yet.
    ///
    /// # Panics
    /// Where it refuses.
    pub fn user(&self, name: &str) -> Keys {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]);
        let made = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]);
        let text = made.text();
        let member = |tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>")).expect("the member");
            rest.split('<').next().unwrap_or_default().to_owned()
        };
        Keys {
            id: member("AccessKeyId"),
            secret: member("SecretAccessKey"),
        }
    }

    /// Lets a user do this and nothing else, such as `s3:GetObject`; from then on access is
    /// checked.
    ///
    /// # Panics
    /// Where it refuses.
    pub fn allow(&self, user: &str, actions: &[&str]) {
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        });
        self.unchecked_requests("inf");
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", user),
            ("PolicyName", "only"),
            ("PolicyDocument", &policy.to_string()),
        ]);
        self.check_access();
    }

    fn unchecked_requests(&self, count: &str) {
        let path = "/moto-api/reset-auth";
        let answer = http::send(self.address, "POST", path, &[], count.as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn iam(&self, parameters: &[(&str, &str)]) -> Response {
        let form = [parameters, &[("Version", "2010-05-08")]].concat();
        let headers = [IAM, ("Content-Type", "application/x-www-form-urlencoded")];
        let body = http::form(&form);
        let answer = http::send(self.address, "POST", "/", &headers, body.as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }
}
