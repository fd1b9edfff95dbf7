//! The process itself: its metrics, read from /proc when asked; which build it is; and how many
//! files it may have open.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::version;

/// Fewer open files than this run out with a day of blocks of some dozen tenants on the disk, each
/// of which takes up to five, beside connections and the log.
const FEW_FILES: u64 = 4096;

/// Lets the process open as many files as the system allows it, and warns where these are few.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most < FEW_FILES {
        tracing::warn!(
            most,
            "few files may be open, and each block on this disk takes up to five: raise the hard \
             limit to {FEW_FILES} or more (`ulimit -Hn`, LimitNOFILE of systemd)"
        );
    }
}

/// Writes the metrics of the process in the text format of Prometheus.
pub(crate) fn render(out: &mut String) {
    let build = format!(
        "# HELP tidemark_build_info Which build this is.\n# TYPE tidemark_build_info gauge\ntidemark_build_info{{version=\"{}\",revision=\"{}\"}} 1\n",
        version::VERSION,
        version::revision()
    );
    out.push_str(&build);
    let Some(process) = read() else {
        return;
    };
    let metrics = [
        (
            "cpu_seconds_total",
            "counter",
            "CPU time used, in seconds.",
            process.cpu_seconds,
        ),
        (
            "resident_memory_bytes",
            "gauge",
            "Memory in use, in bytes.",
            process.resident_bytes,
        ),
        (
            "virtual_memory_bytes",
            "gauge",
            "Address space in use, in bytes.",
            process.virtual_bytes,
        ),
        (
            "open_fds",
            "gauge",
            "Open file descriptors.",
            process.open_fds,
        ),
        (
            "max_fds",
            "gauge",
            "File descriptors that may be open.",
            process.max_fds,
        ),
        ("threads", "gauge", "Threads.", process.threads),
        (
            "start_time_seconds",
            "gauge",
            "When the process started, in seconds since the epoch.",
            process.start_seconds,
        ),
    ];
    for (name, kind, help, value) in metrics {
        // Writing into a string can't fail.
        let _ = writeln!(
            out,
            "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}"
        );
    }
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    threads: f64,
    start_seconds: f64,
}

/// `None` where there is no /proc.
fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything: the fields of proc(5) begin behind it, with
    // the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let boot = boot_seconds().unwrap_or(0.0);
    let limit = getrlimit(Resource::Nofile);
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        threads: field(20)?,
        start_seconds: boot + field(22)? / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |dir| dir.count() as f64),
        max_fds: limit.current.map_or(f64::INFINITY, |n| n as f64),
    })
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let limit = getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: Some(limit.maximum.unwrap_or(1 << 20).min(256)),
            ..limit
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }

    #[test]
    fn knows_this_process() {
        let mut out = String::new();
        render(&mut out);
        assert!(out.contains("tidemark_build_info{version=\""), "{out}");
        if std::path::Path::new("/proc/self/stat").exists() {
            for name in [
                "process_cpu_seconds_total ",
                "process_resident_memory_bytes ",
                "process_open_fds ",
            ] {
                assert!(out.contains(name), "{name} in {out}");
            }
        }
    }
}
