//! What a process is told at its start: every key, its type and its default.
//!
//! [`load()`] makes one of these from a file, flags and the environment; `reference` prints it.

mod lines;
mod load;
mod reference;
mod secrets;
mod substitute;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use block::bucket::BucketConfig;
use model::limits::Limits;
use model::quantity::{ByteSize, DurationMs};
use model::tenant::TenantId;
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Overrides, load};
pub use reference::{print_defaults, print_effective};
pub(crate) use secrets::without_secret;

const DAY_MS: i64 = 86_400_000;

/// Everything a process can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which roles run in the process.
    pub target: Target,
    /// Whether the tenant is taken from the header; otherwise all is `anonymous`.
    pub multitenancy: bool,
    /// The listeners.
    pub server: ServerConfig,
    /// The write path.
    pub distributor: distributor::Config,
    /// Where and how samples are kept.
    pub storage: StorageConfig,
    /// How blocks in the bucket are read.
    pub store_gateway: store_gateway::Config,
    /// How the bucket is kept in order.
    pub compactor: compactor::Config,
    /// The read path.
    pub query: QueryConfig,
    /// What each tenant may do.
    pub limits: Limits,
    /// Limits of single tenants: by tenant, those that differ.
    pub overrides: Overridden,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// By tenant, the limits that differ from those of all, by name.
pub type Overridden = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// Which roles run in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// All of them.
    #[default]
    All,
}

/// The listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where HTTP is served.
    pub http_listen: SocketAddr,
    /// Where roles of other processes are served.
    pub grpc_listen: SocketAddr,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// How long a connection may take to send a request's head, or stay idle between two.
    pub header_read_timeout: DurationMs,
    /// How long requests in flight may take to finish at shutdown.
    pub shutdown_timeout: DurationMs,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            grpc_listen: SocketAddr::from(([0, 0, 0, 0], 9095)),
            max_connections: 4096,
            header_read_timeout: DurationMs::minutes(2),
            shutdown_timeout: DurationMs(30_000),
        }
    }
}

/// Where and how samples are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// The folder everything is kept in.
    pub data_dir: PathBuf,
    /// The bucket for blocks; without a URL, a folder in the data directory.
    pub bucket: BucketConfig,
    /// How long the range of time is that becomes a block.
    pub block_duration: DurationMs,
    /// How long a block stays on this disk once it is in the bucket.
    pub local_block_retention: DurationMs,
    /// Memory for pages of blocks that are kept decompressed.
    pub decoded_pages: ByteSize,
    /// Writes are refused while the disk has less room than this.
    pub min_free_space: ByteSize,
    /// How often the head is written down, so that a restart replays little.
    pub snapshot_interval: DurationMs,
    /// The write-ahead log.
    pub wal: WalConfig,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            bucket: BucketConfig::default(),
            block_duration: DurationMs::minutes(120),
            local_block_retention: DurationMs::minutes(360),
            decoded_pages: ByteSize(128 << 20),
            min_free_space: ByteSize(64 << 20),
            snapshot_interval: DurationMs::minutes(15),
            wal: WalConfig::default(),
        }
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalConfig {
    /// When the log is forced to disk.
    pub fsync: Fsync,
    /// How often, with `interval`.
    pub fsync_interval: DurationMs,
    /// The size at which a new segment is begun.
    pub segment_size: ByteSize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            fsync_interval: DurationMs(100),
            segment_size: ByteSize(128 << 20),
        }
    }
}

/// When the write-ahead log is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// Before a write is acknowledged.
    #[default]
    Always,
    /// Every so often: what came since then is lost if the machine (not the process) dies.
    Interval,
}

/// The read path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Threads that evaluate queries; 0: two for each core, four at least.
    pub threads: usize,
    /// Queries that take longer are logged; 0: none is.
    pub log_slower_than: DurationMs,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            log_slower_than: DurationMs(10_000),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The least severe level that is logged, or directives such as `info,query=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A contradiction, or a value outside its bounds: which key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The key, as a dotted path.
    pub(crate) key: &'static str,
    /// What is wrong and the remedy.
    pub(crate) message: String,
}

impl Config {
    /// Checks what types can't: bounds of numbers, and keys against one another.
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        let fail = |key, message: String| Err(Complaint { key, message });
        let server = &self.server;
        if server.http_listen == server.grpc_listen && server.http_listen.port() != 0 {
            let both = server.http_listen;
            // The one that was set is the one to be corrected.
            let (key, other) = if both == ServerConfig::default().grpc_listen {
                ("server.http_listen", "server.grpc_listen")
            } else {
                ("server.grpc_listen", "server.http_listen")
            };
            return fail(
                key,
                format!("is {both}, which is {other} already; give one of them another port"),
            );
        }
        if server.max_connections == 0 {
            return fail("server.max_connections", "is 0; use 1 or more".to_owned());
        }
        if server.header_read_timeout.0 <= 0 {
            return fail(
                "server.header_read_timeout",
                "is 0; use 1s or more".to_owned(),
            );
        }
        if self.distributor.body_read_timeout.0 <= 0 {
            return fail(
                "distributor.body_read_timeout",
                "is 0; use 1s or more".to_owned(),
            );
        }
        if self.storage.data_dir.as_os_str().is_empty() {
            return fail(
                "storage.data_dir",
                "is empty; name a folder, such as ./data".to_owned(),
            );
        }
        self.check_storage()?;
        check_limits(&self.limits)?;
        if let Some((member, fault)) = self.compactor.fault() {
            let key = match member {
                "interval" => "compactor.interval",
                _ => "compactor.deletion_delay",
            };
            return fail(key, fault);
        }
        for (tenant, limits) in self.tenants_limits()? {
            check_limits(&limits).map_err(|complaint| Complaint {
                key: "overrides",
                message: format!(
                    "of tenant {tenant}: {} {}",
                    complaint.key, complaint.message
                ),
            })?;
        }
        if let Err(reason) = crate::logging::parse_level(&self.log.level) {
            return fail(
                "log.level",
                format!(
                    "is {:?}: {reason}; use error, warn, info, debug or trace",
                    self.log.level
                ),
            );
        }
        Ok(())
    }

    fn check_storage(&self) -> Result<(), Complaint> {
        let fail = |key, message: String| Err(Complaint { key, message });
        let storage = &self.storage;
        let segment = storage.wal.segment_size.0;
        if !((1 << 20)..=(1 << 30)).contains(&segment) {
            return fail(
                "storage.wal.segment_size",
                format!(
                    "is {}; use a size from 1MiB to 1GiB",
                    storage.wal.segment_size
                ),
            );
        }
        if storage.wal.fsync == Fsync::Interval && storage.wal.fsync_interval.0 == 0 {
            return fail(
                "storage.wal.fsync_interval",
                "is 0 while storage.wal.fsync is interval; use 10ms or more, or storage.wal.fsync: always"
                    .to_owned(),
            );
        }
        if storage.snapshot_interval.0 < 10_000 {
            return fail(
                "storage.snapshot_interval",
                format!("is {}; use 10s or more", storage.snapshot_interval),
            );
        }
        let block = storage.block_duration;
        if !(10_000..=DAY_MS).contains(&block.0) || DAY_MS % block.0 != 0 {
            return fail(
                "storage.block_duration",
                format!("is {block}; use a part of a day from 10s to 24h, such as 2h"),
            );
        }
        if let Some((member, fault)) = storage.bucket.fault() {
            let keys = [
                ("url", "storage.bucket.url"),
                ("sse", "storage.bucket.sse"),
                ("timeout", "storage.bucket.timeout"),
                ("max_concurrency", "storage.bucket.max_concurrency"),
                (
                    "secret_access_key_file",
                    "storage.bucket.secret_access_key_file",
                ),
            ];
            let key = keys.iter().find(|(known, _)| *known == member);
            return fail(key.map_or("storage.bucket", |(_, key)| key), fault);
        }
        Ok(())
    }

    /// The limits of the tenants that have some of their own.
    pub(crate) fn tenants_limits(&self) -> Result<Vec<(TenantId, Limits)>, Complaint> {
        let complain = |message: String| Complaint {
            key: "overrides",
            message,
        };
        let mut all = Vec::new();
        for (name, own) in &self.overrides {
            let tenant = TenantId::new(name);
            let tenant = tenant.map_err(|error| complain(format!("name {name:?}: {error}")))?;
            let mut limits = serde_json::to_value(&self.limits).unwrap_or_default();
            for (key, value) in own {
                limits[key] = value.clone();
            }
            let limits = serde_json::from_value(limits);
            let limits = limits.map_err(|error| complain(format!("of tenant {name}: {error}")))?;
            all.push((tenant, limits));
        }
        Ok(all)
    }
}

fn check_limits(limits: &Limits) -> Result<(), Complaint> {
    let fail = |key, message: String| Err(Complaint { key, message });
    let at_least_one = [
        (
            "limits.max_label_names_per_series",
            limits.max_label_names_per_series,
        ),
        ("limits.max_label_name_length", limits.max_label_name_length),
        (
            "limits.max_label_value_length",
            limits.max_label_value_length,
        ),
        ("limits.max_samples_per_query", limits.max_samples_per_query),
        (
            "limits.max_concurrent_queries",
            limits.max_concurrent_queries,
        ),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            return fail(key, "is 0; use 1 or more".to_owned());
        }
    }
    let retention = limits.retention;
    if retention.0 != 0 && retention.0 < 7_200_000 {
        return fail(
            "limits.retention",
            format!("is {retention}; use 2h or more, or 0 to keep samples for ever"),
        );
    }
    if !limits.ingestion_rate.is_finite() || limits.ingestion_rate < 0.0 {
        return fail(
            "limits.ingestion_rate",
            format!(
                "is {}; use samples a second, or 0 for no limit",
                limits.ingestion_rate
            ),
        );
    }
    if limits.ingestion_rate > 0.0 && limits.ingestion_burst_size == 0 {
        return fail(
                "limits.ingestion_burst_size",
                "is 0 while limits.ingestion_rate is set, so that no write could ever pass; use at least the samples of one request (2000)"
                    .to_owned(),
            );
    }
    for (key, value) in [
        ("limits.lookback_delta", limits.lookback_delta),
        ("limits.query_timeout", limits.query_timeout),
    ] {
        if value.0 == 0 {
            return fail(key, "is 0; use 1s or more".to_owned());
        }
    }
    for (key, value) in [
        ("limits.max_query_bytes", limits.max_query_bytes),
        ("limits.max_memory_per_query", limits.max_memory_per_query),
    ] {
        if value.0 == 0 {
            return fail(key, "is 0; use a size such as 32KiB or 1GiB".to_owned());
        }
    }
    Ok(())
}
