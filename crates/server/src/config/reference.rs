//! The configuration as a file: every key, explained. `docs/configuration.md` carries it, and
//! `/config` shows the one in force.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// Each key, in the order it is printed, and what it means. A test holds it to the types.
const KEYS: &[(&str, &str)] = &[
    ("target", "Which roles run in this process. So far: all."),
    (
        "multitenancy",
        "Take the tenant from the header X-Scope-OrgID (requests without are refused with 401). Off: all data belongs to the tenant `anonymous`.",
    ),
    ("server", "The listeners."),
    (
        "server.http_listen",
        "Address and port of HTTP: writes, queries and operations. Port 0 takes a free one, which the log tells.",
    ),
    (
        "server.grpc_listen",
        "Address and port for roles in other processes. A process that runs all roles serves none, and does not bind it.",
    ),
    (
        "server.max_connections",
        "Connections open at once, 1 or more; more wait to be accepted.",
    ),
    (
        "server.header_read_timeout",
        "How long a connection may take to send a request's head, or idle between two requests.",
    ),
    (
        "server.shutdown_timeout",
        "How long requests in flight may take to finish after SIGTERM; then they are cut off.",
    ),
    ("distributor", "The write path."),
    (
        "distributor.max_body_size",
        "Bytes of a write request's body as it comes in; more is refused with 413.",
    ),
    (
        "distributor.max_decoded_body_size",
        "Bytes of a write request's body once it is unpacked; more is refused with 413.",
    ),
    (
        "distributor.body_read_timeout",
        "How long a write request's body may take to come in; then it is refused with 503.",
    ),
    (
        "distributor.max_inflight_requests",
        "Write requests at once, waiting ones included; more are refused with 503. 0 is no limit.",
    ),
    (
        "distributor.max_inflight_bytes",
        "Bytes of all their bodies, packed and unpacked; more are refused with 503. 0 is no limit.",
    ),
    (
        "distributor.push_concurrency",
        "Write requests that are decoded or wait for the disk at once, each on a thread; others queue.",
    ),
    ("storage", "Where and how samples are kept."),
    (
        "storage.data_dir",
        "The folder that holds everything. One process at a time may use it.",
    ),
    (
        "storage.bucket",
        "Object storage, where blocks go. One that is out of reach for a while loses nothing: samples stay on this disk. One that does not exist or denies access stops the start. Its keys must allow to put, get, list and delete objects.",
    ),
    (
        "storage.bucket.url",
        "`file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`; empty: the folder `bucket` in data_dir.",
    ),
    (
        "storage.bucket.endpoint",
        "Another address than the provider's, such as http://localhost:3900; empty: the provider's. Azure's has the account in its path. Google's is asked without the machine's own token where it begins with http://.",
    ),
    ("storage.bucket.region", "Region of an S3 bucket."),
    (
        "storage.bucket.path_style",
        "Name an S3 bucket in the path of requests; off: in the host's name.",
    ),
    (
        "storage.bucket.access_key_id",
        "Id of the key (S3) or name of the account (Azure); empty: what the environment or the machine's role gives.",
    ),
    (
        "storage.bucket.secret_access_key",
        "The key. Better in the environment: ${TIDEMARK_S3_SECRET:}. It is not shown by /config.",
    ),
    (
        "storage.bucket.secret_access_key_file",
        "A file with the key instead, or with a service account of Google's as JSON.",
    ),
    (
        "storage.bucket.sse",
        "Encryption at rest that S3 is asked for: AES256 or aws:kms; empty: none.",
    ),
    (
        "storage.bucket.timeout",
        "How long a request may take; one that uploads a large file, for each 8 MiB of it.",
    ),
    (
        "storage.bucket.max_concurrency",
        "Requests at once; more wait.",
    ),
    (
        "storage.bucket.max_retries",
        "How often a request that failed is tried again, with growing pauses.",
    ),
    (
        "storage.block_duration",
        "Time that one block holds, a part of a day from 10s to 24h. Shorter: less in memory, more and smaller blocks.",
    ),
    (
        "storage.local_block_retention",
        "How long a block stays on this disk once it is in the bucket, so that queries of the last hours need no request.",
    ),
    (
        "storage.decoded_pages",
        "Memory for pages of blocks, of this disk and of the bucket, that are kept decompressed; 0: none. More: less processor time for queries that come again.",
    ),
    (
        "storage.min_free_space",
        "While the disk has less room than this, writes are refused with 503, and reads go on.",
    ),
    (
        "storage.snapshot_interval",
        "How often what is in memory is written down, 10s or more. Shorter: faster restart, more bytes written.",
    ),
    ("storage.wal", "The write-ahead log."),
    (
        "storage.wal.fsync",
        "`always`: a write is on disk before it is acknowledged. `interval`: forced to disk every fsync_interval; a crash of the process loses nothing, a crash of the machine what came since.",
    ),
    (
        "storage.wal.fsync_interval",
        "How often the log is forced to disk with `interval`.",
    ),
    (
        "storage.wal.segment_size",
        "Size at which the log begins a new file, 1MiB to 1GiB.",
    ),
    ("store_gateway", "How blocks in the bucket are read."),
    (
        "store_gateway.index_cache",
        "Memory for footers and page indexes of blocks.",
    ),
    (
        "store_gateway.max_open_memory",
        "Memory for those of all open blocks, of those too that are read now; a query whose blocks \
         would take more than half of it is refused.",
    ),
    ("store_gateway.page_cache", "Memory for pages of blocks."),
    (
        "store_gateway.disk_cache",
        "Disk for pages of blocks, 64MiB or more; 0 is none.",
    ),
    (
        "store_gateway.cache_dir",
        "Folder of the disk cache; empty: `cache` in storage.data_dir.",
    ),
    ("compactor", "How the bucket is kept in order."),
    (
        "compactor.interval",
        "How often blocks whose retention is over are removed, and what nobody needs is deleted.",
    ),
    (
        "compactor.deletion_delay",
        "How long removed blocks, unfinished uploads and old catalogs are still there, 10m or more.",
    ),
    ("query", "The read path."),
    (
        "query.threads",
        "Threads that evaluate queries; 0 takes two for each core, four at least.",
    ),
    (
        "query.log_slower_than",
        "Queries that take longer are logged; 0 logs none.",
    ),
    (
        "limits",
        "What each tenant may do. Where 0 is the default of a count, it means no limit.",
    ),
    (
        "limits.max_label_names_per_series",
        "Labels of a series, its name included.",
    ),
    ("limits.max_label_name_length", "Bytes of a label name."),
    ("limits.max_label_value_length", "Bytes of a label value."),
    (
        "limits.name_validation",
        "Which metric and label names are taken: `utf8` or `legacy` ([a-zA-Z_:][a-zA-Z0-9_:]*).",
    ),
    (
        "limits.creation_grace_period",
        "How far in the future a sample may lie.",
    ),
    (
        "limits.retention",
        "How long samples are kept, 2h or more; 0 keeps them for ever.",
    ),
    (
        "limits.out_of_order_time_window",
        "How far behind the tenant's newest sample an out-of-order sample may lie; 0 takes none.",
    ),
    ("limits.max_series", "Series in memory; 0 is no limit."),
    (
        "limits.ingestion_rate",
        "Samples a second, averaged; 0 is no limit. Above, writes are answered with 429.",
    ),
    (
        "limits.ingestion_burst_size",
        "Samples that may come at once above the rate.",
    ),
    (
        "limits.max_exemplars",
        "Exemplars kept, the newest; 0 keeps none.",
    ),
    ("limits.max_metadata", "Metrics whose metadata is kept."),
    (
        "limits.max_native_histogram_buckets",
        "Buckets of one native histogram.",
    ),
    (
        "limits.lookback_delta",
        "How far back an instant selector looks for a sample.",
    ),
    (
        "limits.query_timeout",
        "How long a query may run, waiting included.",
    ),
    ("limits.max_query_bytes", "Bytes of a query's text."),
    (
        "limits.max_samples_per_query",
        "Samples one query may hold at once: those of the series it works on, and those it keeps for its result.",
    ),
    (
        "limits.max_series_per_query",
        "Series one query may select; 0 is no limit.",
    ),
    (
        "limits.max_memory_per_query",
        "Memory one query may hold; above, it is stopped with 422.",
    ),
    (
        "limits.max_concurrent_queries",
        "Queries of a tenant that run at once; more wait.",
    ),
    (
        "limits.max_outstanding_queries",
        "Queries of a tenant that wait; more are refused with 429.",
    ),
    (
        "limits.partial_answers",
        "Answer a query without blocks that can't be read, and say in its warnings which are left out and why; else such a query fails.",
    ),
    (
        "limits.experimental_promql",
        "Allow what is experimental in PromQL in Prometheus: functions, modifiers, and start timestamps in rates.",
    ),
    (
        "limits.delayed_name_removal",
        "Drop the name of a metric at the end of a query, not where another quantity is computed: as Prometheus does with promql-delayed-name-removal.",
    ),
    (
        "overrides",
        "Limits of single tenants, such as {team-a: {retention: 30d, max_series: 100000}}; those that are not named are as above.",
    ),
    ("log", "What is logged, and how: to standard error."),
    (
        "log.level",
        "error, warn, info, debug or trace; or by part, such as info,query=debug.",
    ),
    ("log.format", "`text`, or `json` with one object a line."),
];

/// The width comments are broken at.
const WIDTH: usize = 96;

/// The default configuration as YAML, every key with its meaning.
pub fn print_defaults() -> String {
    print(&Config::default(), true)
}

/// A configuration as YAML, without comments. There is no secret in it to hide: whoever adds a
/// key for one hides it here.
pub fn print_effective(config: &Config) -> String {
    print(config, false)
}

fn print(config: &Config, comments: bool) -> String {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let mut out = String::new();
    for (key, meaning) in KEYS {
        let depth = key.matches('.').count();
        let indent = "  ".repeat(depth);
        let name = key.rsplit('.').next().unwrap_or(key);
        let value = key
            .split('.')
            .try_fold(&tree, |place, part| place.get(part));
        if comments {
            if depth == 0 && !out.is_empty() {
                out.push('\n');
            }
            write_comment(&mut out, &indent, meaning);
        }
        // Writing into a string can't fail.
        let _ = match value {
            Some(Value::Object(map)) if !is_section(key) => {
                writeln!(out, "{indent}{name}: {}", Value::Object(map.clone()))
            }
            None | Some(Value::Object(_)) => writeln!(out, "{indent}{name}:"),
            Some(value) => writeln!(out, "{indent}{name}: {}", scalar(value)),
        };
    }
    out
}

/// Whether other keys stand below a key.
fn is_section(key: &str) -> bool {
    let below = |other: &str| {
        other
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter().any(|(other, _)| below(other))
}

fn write_comment(out: &mut String, indent: &str, text: &str) {
    let mut line = format!("{indent}#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{indent}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// A scalar as YAML: text without quotes where that can't be misread.
fn scalar(value: &Value) -> String {
    let plain = |text: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "./_-:".contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/')
            && text.chars().all(safe)
            && !text.ends_with(':')
            && !matches!(
                text,
                "true" | "false" | "null" | "yes" | "no" | "on" | "off"
            )
            && text.parse::<f64>().is_err()
    };
    match value {
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(prefix: &str, tree: &Value, out: &mut Vec<String>) {
        if !prefix.is_empty() {
            out.push(prefix.to_owned());
        }
        for (name, value) in tree.as_object().into_iter().flatten() {
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            leaves(&path, value, out);
        }
    }

    #[test]
    fn every_key_is_explained() {
        let mut found = Vec::new();
        leaves(
            "",
            &serde_json::to_value(Config::default()).unwrap(),
            &mut found,
        );
        found.sort();
        let mut known: Vec<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn what_is_printed_reads_back() {
        let read = |text: &str| -> Config { serde_saphyr::from_str(text).unwrap() };
        assert_eq!(read(&print_defaults()), Config::default());
        let mut other = Config::default();
        other.log.level = "info,query=debug".to_owned();
        other.storage.data_dir = "/a b: #c/\"d\"".into();
        other.limits.ingestion_rate = 1.5;
        let own = [("retention".to_owned(), serde_json::json!("30d"))];
        other.overrides.insert("team-a".to_owned(), own.into());
        assert_eq!(read(&print_effective(&other)), other);
    }

    /// The page of the documentation carries the default file between two fences: set
    /// `UPDATE_DOCS=1` to write it.
    #[test]
    fn docs_are_in_step() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (start, end) = ("<!-- defaults -->\n```yaml\n", "```\n<!-- /defaults -->");
        let (head, rest) = page.split_once(start).unwrap();
        let (shown, tail) = rest.split_once(end).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{head}{start}{}{end}{tail}", print_defaults());
            std::fs::write(path, page).unwrap();
            return;
        }
        assert_eq!(
            shown,
            print_defaults(),
            "run UPDATE_DOCS=1 cargo test -p server --lib docs"
        );
    }
}
