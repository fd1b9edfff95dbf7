//! What a start makes of the folders it finds.

use std::os::unix::fs::symlink;

use super::*;

fn open(folder: &Path) -> io::Result<LocalBlocks> {
    LocalBlocks::open(folder, Arc::new(DecodedPages::new(0)))
}

/// The block of the golden files.
const ID: &str = "01HF7YAT00AAAAAAAAAAAAAAAA";

/// A folder for blocks with the golden one in it.
fn with_a_block() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("anonymous").join(ID);
    fs::create_dir_all(&folder).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../block/testdata/block-v1");
    for file in fs::read_dir(golden).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    (root, folder)
}

fn tenant() -> TenantId {
    TenantId::new("anonymous").unwrap()
}

#[test]
fn a_block_waits_until_it_is_committed() {
    let (root, _) = with_a_block();
    let blocks = open(root.path()).unwrap();
    assert!(blocks.is_waiting(&tenant(), ID));
    assert!(!blocks.is_waiting(&tenant(), "01HF7YAT00BBBBBBBBBBBBBBBB"));
    assert!(!blocks.is_waiting(&TenantId::new("other").unwrap(), ID));
    let [one] = &blocks.of(&tenant())[..] else {
        panic!("one block");
    };
    blocks.set_committed(one, 1).unwrap();
    assert!(!blocks.is_waiting(&tenant(), ID));
    let again = open(root.path()).unwrap();
    assert!(!again.is_waiting(&tenant(), ID));
    assert_eq!(again.counts(), (1, 0));
}

#[test]
fn what_is_damaged_is_set_aside() {
    let check = |damage: &dyn Fn(&Path)| {
        let (root, folder) = with_a_block();
        damage(&folder);
        let blocks = open(root.path()).unwrap();
        assert_eq!(blocks.counts(), (0, 0));
        assert!(!folder.exists() && folder.with_extension("damaged").exists());
    };
    check(&|folder| fs::write(folder.join(META), "{}").unwrap());
    check(&|folder| fs::write(folder.join(META), r#"{"format_version":99}"#).unwrap());
    check(&|folder| fs::write(folder.join("series.parquet"), "short").unwrap());
    check(&|folder| fs::remove_file(folder.join("series.parquet")).unwrap());
}

/// A disk or a limit that keeps a file from being read says nothing about its bytes.
#[test]
fn a_block_that_cannot_be_read_now_stays_where_it_is() {
    for file in [META, "series.parquet", COMMITTED] {
        let (root, folder) = with_a_block();
        let path = folder.join(file);
        let kept = folder.join("kept");
        if path.exists() {
            fs::rename(&path, &kept).unwrap();
        }
        // Any look at it fails.
        symlink(&path, &path).unwrap();
        let failure = open(root.path()).unwrap_err().to_string();
        assert!(failure.contains(ID), "{failure}");
        assert!(failure.contains(file), "{failure}");
        fs::remove_file(&path).unwrap();
        if kept.exists() {
            fs::rename(&kept, &path).unwrap();
        }
        let blocks = open(root.path()).unwrap();
        assert!(blocks.is_waiting(&tenant(), ID), "{file}");
    }
}
