//! What a start makes of the folders it finds.

use super::*;

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
    let blocks = LocalBlocks::open(root.path()).unwrap();
    assert!(blocks.is_waiting(&tenant(), ID));
    assert!(!blocks.is_waiting(&tenant(), "01HF7YAT00BBBBBBBBBBBBBBBB"));
    assert!(!blocks.is_waiting(&TenantId::new("other").unwrap(), ID));
    let [one] = &blocks.of(&tenant())[..] else {
        panic!("one block");
    };
    blocks.set_committed(one, 1).unwrap();
    assert!(!blocks.is_waiting(&tenant(), ID));
    let again = LocalBlocks::open(root.path()).unwrap();
    assert!(!again.is_waiting(&tenant(), ID));
    assert_eq!(again.counts(), (1, 0));
}
