//! Every refusal names the place, the fault and the remedy.

use super::*;
use model::quantity::DurationMs;

fn from_text(text: &str, overrides: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<Overrides> = overrides
        .iter()
        .map(|(key, value)| Overrides {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            flag: format!("--set {key}={value}"),
        })
        .collect();
    let env = |name: &str| (name == "LEVEL").then(|| "debug".to_owned());
    let shown = path.display().to_string();
    load(Some(&path), &overrides, &env).map_err(|e| e.to_string().replace(&shown, "t.yaml"))
}

#[test]
fn reads_file_environment_and_flags() {
    let text = "log:\n  level: ${LEVEL:warn}\nlimits:\n  out_of_order_time_window: 1h\n  max_series: 5\nstorage: {local_block_retention: 0}\n";
    let config = from_text(
        text,
        &[
            ("limits.out_of_order_time_window", "10y"),
            ("limits.max_exemplars", "7"),
            ("storage.local_block_retention", "30d"),
            ("multitenancy", "true"),
        ],
    )
    .unwrap();
    assert_eq!(config.log.level, "debug");
    assert_eq!(
        config.limits.out_of_order_time_window,
        "10y".parse::<DurationMs>().unwrap()
    );
    assert_eq!(
        (config.limits.max_series, config.limits.max_exemplars),
        (5, 7)
    );
    assert_eq!(
        config.storage.local_block_retention,
        "30d".parse::<DurationMs>().unwrap()
    );
    assert!(config.multitenancy);
    let own = from_text("overrides: {a: {retention: 3h}}\n", &[]).unwrap();
    let own = own.tenants_limits().unwrap();
    assert_eq!(
        (own[0].0.as_str(), own[0].1.retention.0),
        ("a", 3 * 3_600_000)
    );
    assert_eq!(from_text("# nothing\n", &[]).unwrap(), Config::default());
    assert_eq!(load(None, &[], &|_| None).unwrap(), Config::default());
}

#[test]
fn refuses_with_line_and_remedy() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("server:\n  http_listne: a\n", &[]),
        ("retention: 1d\n", &[]),
        ("server:\n  http_listen: nowhere\n", &[]),
        ("limits:\n  retention: 3 fortnights\n", &[]),
        ("storage:\n  wal:\n    fsync: sometimes\n", &[]),
        ("target: compactor\n", &[]),
        ("limits:\n  max_series: -1\n", &[]),
        ("limits:\n  max_series: many\n", &[]),
        ("log:\n  level: loud\n", &[]),
        ("log:\n  level: info\n  level: warn\n", &[]),
        ("log: [\n", &[]),
        ("server:\n", &[]),
        ("limits:\n  retention: 1h\n", &[]),
        ("overrides: {a/b: {}}\n", &[]),
        ("overrides: {a: {retention: 1h}}\n", &[]),
        ("overrides: {a: {retentoin: 3h}}\n", &[]),
        ("storage: {block_duration: 7h}\n", &[]),
        ("storage: {bucket: {url: ftp://x}}\n", &[]),
        ("storage:\n  wal:\n    segment_size: 1KiB\n", &[]),
        (
            "storage:\n  wal: {fsync: interval, fsync_interval: 0}\n",
            &[],
        ),
        ("server:\n  http_listen: 0.0.0.0:9095\n", &[]),
        (
            "limits:\n  ingestion_rate: 10\n  ingestion_burst_size: 0\n",
            &[],
        ),
        ("\nlog:\n  level: ${NOT_SET}\n", &[]),
        ("", &[("limits.max_serie", "1")]),
        ("", &[("limits", "1")]),
        ("", &[("limits.max_series.x", "1")]),
        ("", &[("limits.max_series", "lots")]),
        ("", &[("limits.query_timeout", "0")]),
        ("", &[("limits.query_timeout", "5")]),
        ("", &[("server.max_connections", "0")]),
    ];
    let mut shown = String::new();
    for (text, overrides) in cases {
        let error = from_text(text, overrides).unwrap_err();
        shown.push_str(&error);
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Some(Path::new("/nowhere/t.yaml")), &[], &|_| None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/t.yaml: can't be read"),
        "{error}"
    );
}

/// Whatever is wrong: an error goes to logs and screens, where a secret has no business.
#[test]
fn no_error_shows_a_secret() {
    let bucket = "storage:\n  bucket:\n    ";
    let files = [
        "secret_access_key: [hush-hush",
        "secret_access_key: \"hush-hush",
        "secret_access_key: {a: hush-hush}",
        "secret_access_key: *hush-hush",
        "secret_access_key: hush-hush: x",
        "secret_access_key: hush-hush\n    secret_access_key: hush-hush",
        "secret_access_key:\n      - hush-hush",
        "secret_access_key:\n      hush-hush: 1",
        "secret_access_key: |\n     hush-hush\n   hush-hush: x",
        "secret_acess_key: hush-hush",
        "secret: hush-hush",
        "password: hush-hush",
        "  token: hush-hush\n  max_retries: x",
        "max_retries: 1, secret_access_key: hush-hush",
        "secret_access_key: ${hush-hush}",
        "secret_access_key: ${hush-hush",
        "secret_access_key: ${LINES}",
        "secret_access_key: ${hush.hush:hush-hush}",
        "max_retries: ${SECRET}",
        "sse: ${SECRET}",
        "url: ${SECRET}",
        "timeout: ${SECRET}",
    ];
    let env = |name: &str| match name {
        "SECRET" => Some("hush-hush".to_owned()),
        "LINES" => Some("hush-hush\nhush-hush".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    for file in files {
        std::fs::write(&path, format!("{bucket}{file}\n")).unwrap();
        let error = load(Some(&path), &[], &env).expect_err(file).to_string();
        assert!(!error.contains("hush"), "{file}: {error}");
        assert!(error.contains("t.yaml:"), "{file}: {error}");
        if file.starts_with("secret_acess_key") {
            let near = "did you mean `secret_access_key`?";
            assert!(error.contains(near), "{error}");
        }
    }
    let flags = [
        "storage.bucket.secret_access_key.x=hush-hush",
        "storage.bucket.secret_acess_key=hush-hush",
        "storage.bucket.secret_access_key hush-hush",
        "storage.secret_access_key=hush-hush",
        "storage.bucket={secret_access_key: hush-hush}",
        "overrides={a: {token: hush-hush}}",
    ];
    for flag in flags {
        let arguments = ["--set", flag].map(std::ffi::OsString::from);
        let error = match crate::args::parse(arguments) {
            Ok(crate::args::Command::Run(source)) => {
                assert!(!format!("{source:?}").contains("hush"), "{source:?}");
                let loaded = load(None, &source.overrides, &env);
                loaded.unwrap_err().to_string()
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => error,
        };
        assert!(!error.contains("hush"), "{flag}: {error}");
        assert!(error.contains("--set"), "{flag}: {error}");
    }
}

#[test]
fn flags_leave_a_secret_of_the_file_alone() {
    let text = "storage:\n  bucket:\n    url: s3://b\n    access_key_id: id\n    secret_access_key: hush\n";
    let config = from_text(text, &[("log.level", "warn")]).unwrap();
    assert_eq!(config.storage.bucket.secret_access_key.0, "hush");
    let flags = [
        ("storage.bucket.secret_access_key", "other"),
        ("limits.max_series", "5"),
    ];
    let config = from_text(text, &flags).unwrap();
    assert_eq!(config.storage.bucket.secret_access_key.0, "other");
    assert_eq!(config.limits.max_series, 5);
}
