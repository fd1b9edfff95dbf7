//! The commands over a folder with copies of a golden block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::BlockMeta;
use block::bucket::Bucket;
use block::catalog::{BlockEntry, Change};
use bytes::Bytes;
use model::time::ManualClock;

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../block/testdata/block-v1");

/// A data directory whose bucket holds the golden block, committed.
struct World {
    config: Config,
    folder: tempfile::TempDir,
    id: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.storage.data_dir = folder.path().to_owned();
        let bucket = Bucket::open(&storage::bucket_config(&config.storage)).unwrap();
        let bytes = std::fs::read(format!("{GOLDEN}/{META}")).unwrap();
        let meta = BlockMeta::from_json(&bytes, "golden").unwrap();
        let id = meta.block_id.clone();
        let names = meta.files.iter().map(|file| file.name.as_str());
        for name in names.chain([META]) {
            let bytes = std::fs::read(format!("{GOLDEN}/{name}")).unwrap();
            let key = block_key("anonymous", &id, name);
            bucket.put(&key, Bytes::from(bytes)).unwrap();
        }
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
        let catalogs = storage::catalogs(folder.path(), bucket, &clock, Arc::new(random)).unwrap();
        let change = Change {
            add: vec![BlockEntry {
                meta,
                metric_names: None,
            }],
            ..Change::default()
        };
        catalogs.commit(&TenantId::anonymous(), &change).unwrap();
        Self { config, folder, id }
    }

    fn path(&self, file: &str) -> PathBuf {
        let key = block_key("anonymous", &self.id, file);
        self.folder.path().join("bucket").join(key)
    }

    fn run(&self, words: &[&str]) -> anyhow::Result<(Outcome, String)> {
        self.run_with(words, &Flags::default())
    }

    fn run_with(&self, words: &[&str], flags: &Flags) -> anyhow::Result<(Outcome, String)> {
        let command = understand(words, flags).unwrap().unwrap();
        let mut out = Vec::new();
        let outcome = run(&command, &self.config, &mut out)?;
        Ok((outcome, String::from_utf8(out)?))
    }
}

#[test]
fn blocks_are_listed() {
    let world = World::new();
    let (outcome, text) = world.run(&["bucket", "ls"]).unwrap();
    assert_eq!(outcome, Outcome::Good);
    assert!(text.contains(&world.id), "{text}");
    assert!(text.contains("2023-11-14T22:13:20Z"), "{text}");
    assert!(text.contains("\n1 blocks, "), "{text}");
    let flags = Flags {
        json: true,
        ..Flags::default()
    };
    let (_, json) = world.run_with(&["bucket", "ls"], &flags).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["block"], world.id.as_str());
    assert_eq!(json[0]["catalog_version"], 1);
    let other = Flags {
        tenant: Some("other".to_owned()),
        ..Flags::default()
    };
    let error = world.run_with(&["bucket", "ls"], &other).unwrap_err();
    assert!(error.to_string().contains("no tenant other"), "{error}");
}

#[test]
fn a_block_is_inspected_and_printed() {
    let world = World::new();
    let (_, text) = world.run(&["bucket", "inspect", &world.id]).unwrap();
    for part in ["samples-raw.parquet", "BYTE_STREAM_SPLIT", "in version 1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, text) = world.run(&["bucket", "cat", &world.id]).unwrap();
    let (samples, series): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("  "));
    let bytes = std::fs::read(format!("{GOLDEN}/{META}")).unwrap();
    let statistics = BlockMeta::from_json(&bytes, "golden").unwrap().statistics;
    let all = statistics.samples + statistics.histograms;
    assert_eq!(samples.len() as u64, all);
    assert_eq!(series.len() as u64, statistics.series);
    let only = ["bucket", "cat", &world.id, "{__name__=~\".+\"}"];
    let (_, some) = world.run(&only).unwrap();
    // One series has no name.
    assert!(some.len() < text.len() && text.contains(&some[some.len() / 2..]));
    let bad = world.run(&["bucket", "cat", &world.id, "{"]).unwrap_err();
    assert!(bad.to_string().contains("no selector"), "{bad}");
    let absent = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let error = world.run(&["bucket", "inspect", absent]).unwrap_err();
    assert!(error.to_string().contains("bucket ls"), "{error}");
}

#[test]
fn damage_is_found_and_named() {
    let world = World::new();
    let (outcome, text) = world.run(&["bucket", "verify"]).unwrap();
    assert_eq!(outcome, Outcome::Good, "{text}");
    let check = |path: &Path, spoil: &dyn Fn(&Path), part: &str| {
        let whole = std::fs::read(path).unwrap();
        spoil(path);
        let words = ["bucket", "verify", &world.id];
        let (outcome, text) = world.run(&words).unwrap();
        assert_eq!(outcome, Outcome::Damaged, "{text}");
        assert!(text.contains(&world.id) && text.contains(part), "{text}");
        std::fs::write(path, whole).unwrap();
    };
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[1..]).unwrap();
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    for file in ["samples-raw.parquet", "postings.parquet"] {
        check(&world.path(file), &flip, file);
        check(&world.path(file), &cut, "bytes, meta.json says");
        check(&world.path(file), &remove, "is missing");
    }
    check(&world.path(META), &flip, META);
    std::fs::write(world.path("stray"), "x").unwrap();
    let (outcome, text) = world.run(&["bucket", "verify"]).unwrap();
    assert_eq!(outcome, Outcome::Damaged);
    assert!(text.contains("stray is no file"), "{text}");
}

#[test]
fn a_rebuild_mends_the_pointer_unless_a_server_runs() {
    let world = World::new();
    let pointer = world.folder.path().join("catalog/anonymous.json");
    std::fs::write(&pointer, "{").unwrap();
    let error = world.run(&["bucket", "ls"]).unwrap_err();
    assert!(error.to_string().contains("catalog rebuild"), "{error}");
    // A block is found all the same.
    let (outcome, _) = world.run(&["bucket", "inspect", &world.id]).unwrap();
    assert_eq!(outcome, Outcome::Good);
    let held = rebuild::lock(world.folder.path()).unwrap();
    let error = world.run(&["catalog", "rebuild"]).unwrap_err();
    assert!(error.to_string().contains("stop the server"), "{error}");
    drop(held);
    let (outcome, text) = world.run(&["catalog", "rebuild"]).unwrap();
    assert_eq!(outcome, Outcome::Good);
    assert!(
        text.contains("anonymous: version 2 with 1 blocks"),
        "{text}"
    );
    assert!(world.run(&["bucket", "ls"]).unwrap().1.contains(&world.id));
}

/// As after a start that ended before all tenants had theirs.
#[test]
fn a_start_makes_the_catalogs_that_are_missing() {
    let world = World::new();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
    let open = || {
        storage::open(&world.config.storage, &clock, Arc::new(random))
            .unwrap()
            .catalogs
    };
    let tenant = TenantId::anonymous();
    let block = open().current(&tenant).unwrap().blocks[0].as_ref().clone();
    let change = Change {
        add: vec![block],
        ..Change::default()
    };
    let other = TenantId::new("other").unwrap();
    open().commit(&other, &change).unwrap();
    let pointer = world.folder.path().join("catalog/anonymous.json");
    std::fs::remove_file(&pointer).unwrap();
    std::fs::create_dir_all(world.folder.path().join("bucket/stranger/files")).unwrap();
    let catalogs = open();
    assert_eq!(catalogs.current(&tenant).unwrap().blocks.len(), 1);
    assert_eq!(catalogs.current(&other).unwrap().version, 1);
    assert_eq!(catalogs.tenants().unwrap(), [tenant, other]);
}

/// What is wrong with one tenant's folder is no reason to hide the blocks of the others.
#[test]
fn a_tenant_whose_catalog_cannot_be_made_stops_no_other() {
    let world = World::new();
    // Before "anonymous": nothing comes after the last number.
    let bad = "aaa/catalog/18446744073709551615-01ARZ3NDEKTSV4RRFFQ69G5FAV.json";
    let bad = world.folder.path().join("bucket").join(bad);
    std::fs::create_dir_all(bad.parent().unwrap()).unwrap();
    std::fs::write(&bad, "x").unwrap();
    let blocks = world
        .folder
        .path()
        .join("bucket/aaa/blocks")
        .join(&world.id);
    std::fs::create_dir_all(&blocks).unwrap();
    std::fs::write(blocks.join("series.parquet"), "x").unwrap();
    std::fs::remove_file(world.folder.path().join("catalog/anonymous.json")).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
    let opened = storage::open(&world.config.storage, &clock, Arc::new(random)).unwrap();
    let tenant = TenantId::anonymous();
    assert_eq!(opened.catalogs.current(&tenant).unwrap().blocks.len(), 1);
    // The bucket is not known to the end yet.
    let other = TenantId::new("aaa").unwrap();
    assert!(opened.catalogs.current(&other).is_err());
}

#[test]
fn a_rebuild_of_all_leaves_strangers_alone_and_goes_past_what_fails() {
    let world = World::new();
    let bucket = world.folder.path().join("bucket");
    std::fs::create_dir_all(bucket.join("stranger/files")).unwrap();
    std::fs::write(bucket.join("stranger/files/one"), "x").unwrap();
    let (outcome, text) = world.run(&["catalog", "rebuild"]).unwrap();
    assert_eq!(outcome, Outcome::Good);
    assert!(!text.contains("stranger"), "{text}");
    assert!(!bucket.join("stranger/catalog").exists());
    let last = "aaa/catalog/18446744073709551615-01ARZ3NDEKTSV4RRFFQ69G5FAV.json";
    std::fs::create_dir_all(bucket.join("aaa/catalog")).unwrap();
    std::fs::write(bucket.join(last), "x").unwrap();
    let blocks = bucket.join("aaa/blocks").join(&world.id);
    std::fs::create_dir_all(&blocks).unwrap();
    std::fs::write(blocks.join("series.parquet"), "x").unwrap();
    let (outcome, text) = world.run(&["catalog", "rebuild"]).unwrap();
    assert_eq!(outcome, Outcome::Damaged);
    assert!(text.contains("failed   aaa: "), "{text}");
    assert!(
        text.contains("anonymous: version 3 with 1 blocks"),
        "{text}"
    );
    // A folder that is asked for by its name is a tenant's.
    let flags = Flags {
        tenant: Some("stranger".to_owned()),
        ..Flags::default()
    };
    let (_, text) = world.run_with(&["catalog", "rebuild"], &flags).unwrap();
    assert!(text.contains("stranger: version 1 with 0 blocks"), "{text}");
}

#[test]
fn a_data_directory_that_is_not_there_is_not_made() {
    let world = World::new();
    let mut config = world.config.clone();
    config.storage.data_dir = world.folder.path().join("absent");
    let command = understand(&["bucket", "ls"], &Flags::default());
    let error = run(&command.unwrap().unwrap(), &config, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    assert!(!config.storage.data_dir.exists());
}
