//! Where the bucket is, and what it takes to use it.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use model::quantity::DurationMs;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde::{Deserialize, Serialize};

use super::BucketError;

/// What a service account of Google's has as JSON, beside members that are not looked at.
const SERVICE_ACCOUNT: [&str; 3] = ["client_email", "private_key", "private_key_id"];
/// Nobody's account: requests are made without a token.
const NO_ACCOUNT: &str =
    r#"{"client_email":"","private_key":"","private_key_id":"","disable_oauth":true}"#;

/// Object storage, by URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BucketConfig {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or
    /// `memory://`.
    pub url: String,
    /// Another address than the provider's own, such as that of a server of one's own. Azure's
    /// has the account in its path. Google's is asked without the machine's own token where it
    /// begins with `http://`: only with a key that is given here or in the environment.
    pub endpoint: String,
    /// The region of an S3 bucket.
    pub region: String,
    /// Whether an S3 bucket stands in the path of requests rather than in the host's name.
    pub path_style: bool,
    /// The key's id (S3), or the account's name (Azure). Empty: what the environment has.
    pub access_key_id: String,
    /// The key. Empty: what the environment has.
    pub secret_access_key: Secret,
    /// A file that holds the key, or a service account of Google's as JSON.
    pub secret_access_key_file: PathBuf,
    /// Encryption at rest that S3 is asked for: `AES256`, `aws:kms`, or none.
    pub sse: String,
    /// How long a request may take; one that uploads a large file, for each part of it.
    pub timeout: DurationMs,
    /// Requests at once.
    pub max_concurrency: usize,
    /// How often a request is tried again.
    pub max_retries: u32,
}

impl Default for BucketConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            path_style: true,
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
            secret_access_key_file: PathBuf::new(),
            sse: String::new(),
            timeout: DurationMs(30_000),
            max_concurrency: 64,
            max_retries: 4,
        }
    }
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl Secret {
    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl BucketConfig {
    /// A folder of this machine.
    #[must_use]
    pub fn folder(folder: &FilePath) -> Self {
        Self {
            url: format!("file://{}", folder.display()),
            ..Self::default()
        }
    }

    /// Where it is, without secrets.
    pub(super) fn described(&self) -> String {
        match (self.url.as_str(), self.endpoint.as_str()) {
            ("", _) => "memory".to_owned(),
            (url, "") => url.to_owned(),
            (url, endpoint) => format!("{url} at {endpoint}"),
        }
    }

    /// What is wrong with it, if anything: which member, and what to do.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let known = ["file://", "s3://", "gs://", "az://", "memory://"];
        if !self.url.is_empty() && !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            let url = &self.url;
            return Some((
                "url",
                format!("is {url:?}; begin it with file://, s3://, gs://, az:// or memory://"),
            ));
        }
        if !["", "AES256", "aws:kms"].contains(&self.sse.as_str()) {
            return Some((
                "sse",
                format!("is {:?}; use AES256, aws:kms or \"\"", self.sse),
            ));
        }
        if self.timeout.0 <= 0 {
            return Some(("timeout", "is 0; use 1s or more".to_owned()));
        }
        if self.max_concurrency == 0 {
            return Some(("max_concurrency", "is 0; use 1 or more".to_owned()));
        }
        if !self.secret_access_key.0.is_empty()
            && !self.secret_access_key_file.as_os_str().is_empty()
        {
            return Some((
                "secret_access_key_file",
                "is set beside secret_access_key; leave one of them out".to_owned(),
            ));
        }
        None
    }

    fn secret(&self) -> Result<String, BucketError> {
        let file = &self.secret_access_key_file;
        if file.as_os_str().is_empty() {
            return Ok(self.secret_access_key.0.clone());
        }
        let read = std::fs::read_to_string(file).map_err(|error| {
            let file = file.display();
            BucketError::config(format!(
                "secret_access_key_file {file} can't be read: {error}"
            ))
        })?;
        Ok(read.trim().to_owned())
    }

    /// The store of the URL, and the prefix of all keys in it.
    pub(super) fn store(&self) -> Result<(Arc<dyn ObjectStore>, Path), BucketError> {
        if let Some((member, fault)) = self.fault() {
            return Err(BucketError::config(format!(
                "storage.bucket.{member} {fault}"
            )));
        }
        let wrong = |error: object_store::Error| {
            BucketError::config(format!("bucket {}: {error}", self.url))
        };
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("memory", ""));
        if scheme == "file" {
            let failed = |error: std::io::Error| {
                BucketError::config(format!("bucket folder {rest} can't be made: {error}"))
            };
            std::fs::create_dir_all(rest).map_err(failed)?;
            let folder = std::fs::canonicalize(rest).map_err(failed)?;
            let store = LocalFileSystem::new_with_prefix(folder).map_err(wrong)?;
            let store = store.with_automatic_cleanup(true).with_fsync(true);
            return Ok((Arc::new(store), Path::default()));
        }
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Path::parse(prefix.trim_end_matches('/'))
            .map_err(|error| BucketError::config(format!("bucket {}: {error}", self.url)))?;
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" => Arc::new(self.s3(name)?.build().map_err(wrong)?),
            "gs" => Arc::new(self.google(name)?.build().map_err(wrong)?),
            "az" => Arc::new(self.azure(name)?.build().map_err(wrong)?),
            _ => Arc::new(InMemory::new()),
        };
        Ok((store, prefix))
    }

    /// How requests are made; they are tried again one floor above.
    fn client(&self) -> (ClientOptions, RetryConfig) {
        let options = ClientOptions::new()
            .with_allow_http(self.endpoint.starts_with("http://"))
            .with_timeout(self.timeout.as_duration());
        let retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        (options, retry)
    }

    fn s3(&self, name: &str) -> Result<AmazonS3Builder, BucketError> {
        let (options, retry) = self.client();
        let builder = match self.access_key_id.as_str() {
            "" => AmazonS3Builder::from_env(),
            _ => s3_without_session(),
        };
        let mut builder = builder
            .with_bucket_name(name)
            .with_region(&self.region)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_client_options(options)
            .with_retry(retry);
        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(&self.endpoint);
        }
        if !self.access_key_id.is_empty() {
            builder = builder
                .with_access_key_id(&self.access_key_id)
                .with_secret_access_key(self.secret()?);
        }
        if !self.sse.is_empty() {
            let key = "aws_server_side_encryption";
            let key: AmazonS3ConfigKey = key.parse().map_err(|error: object_store::Error| {
                BucketError::config(format!("bucket encryption: {error}"))
            })?;
            builder = builder.with_config(key, &self.sse);
        }
        Ok(builder)
    }

    fn google(&self, name: &str) -> Result<GoogleCloudStorageBuilder, BucketError> {
        let (options, retry) = self.client();
        let account = self.secret()?;
        let mut builder = if account.is_empty() {
            GoogleCloudStorageBuilder::from_env()
        } else if is_service_account(&account) {
            GoogleCloudStorageBuilder::new().with_service_account_key(account)
        } else {
            // What the library says of it may show a part of it.
            return Err(BucketError::config(format!(
                "bucket {}: the secret access key is no service account of Google's: the text of a \
                 JSON object with {}",
                self.url,
                SERVICE_ACCOUNT.join(", ")
            )));
        };
        if !self.endpoint.is_empty() {
            builder = builder.with_base_url(self.endpoint.trim_end_matches('/'));
        }
        let named = [
            GoogleConfigKey::ServiceAccount,
            GoogleConfigKey::ServiceAccountKey,
            GoogleConfigKey::ApplicationCredentials,
            GoogleConfigKey::BearerToken,
        ];
        let has_key = named
            .iter()
            .any(|key| builder.get_config_value(key).is_some());
        if self.endpoint.starts_with("http://") && !has_key {
            // The machine's own token is not for anybody on the way to see.
            builder = builder.with_service_account_key(NO_ACCOUNT);
        }
        Ok(builder
            .with_bucket_name(name)
            .with_client_options(options)
            .with_retry(retry))
    }

    fn azure(&self, name: &str) -> Result<MicrosoftAzureBuilder, BucketError> {
        let (options, retry) = self.client();
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(name)
            .with_client_options(options)
            .with_retry(retry);
        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(self.endpoint.clone());
        }
        if !self.access_key_id.is_empty() {
            builder = builder
                .with_account(&self.access_key_id)
                .with_access_key(self.secret()?);
        }
        Ok(builder)
    }
}

/// What the environment says of S3, but for the session that goes with the environment's own keys.
fn s3_without_session() -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
        if let (true, Ok(key)) = (name.starts_with("AWS_"), key)
            && key != AmazonS3ConfigKey::Token
        {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

/// Whether a text is the JSON of a service account of Google's.
fn is_service_account(text: &str) -> bool {
    let members = serde_json::from_str::<serde_json::Value>(text);
    members.is_ok_and(|members| {
        SERVICE_ACCOUNT
            .iter()
            .all(|name| members[*name].is_string())
    })
}
