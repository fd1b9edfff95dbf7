//! Catalogs that are made anew while others commit, or from blocks of which some can't be read.

use std::sync::OnceLock;

use super::*;

/// Uploads a block's `meta.json`.
fn put(catalogs: &Catalogs, number: u64) {
    let mut meta = meta(number, &[]);
    let bytes = meta.seal().unwrap();
    let key = block_key("t", &meta.block_id, "meta.json");
    catalogs.bucket.put(&key, bytes.into()).unwrap();
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// Pointers in front of which something happens, once, when one is looked at.
struct Interrupted {
    pointers: Arc<LocalPointers>,
    hook: Mutex<Option<Hook>>,
}

impl PointerStore for Interrupted {
    fn load(&self, tenant: &TenantId) -> Result<Option<Pointer>, PointerError> {
        if let Some(hook) = self.hook.lock().take() {
            hook();
        }
        self.pointers.load(tenant)
    }

    fn swap(&self, tenant: &TenantId, e: u64, p: &Pointer) -> Result<bool, PointerError> {
        self.pointers.swap(tenant, e, p)
    }

    fn clear(&self, tenant: &TenantId) -> Result<(), PointerError> {
        self.pointers.clear(tenant)
    }

    fn tenants(&self) -> Result<Vec<TenantId>, PointerError> {
        self.pointers.tenants()
    }
}

#[test]
fn a_block_that_is_committed_during_a_rebuild_stays() {
    let world = World::new();
    let pointers = world.pointers();
    let other = Arc::new(world.catalogs_of(&pointers));
    put(&other, 1);
    // Another process uploads and commits a block when the pointer is about to be looked at.
    let committer = Arc::clone(&other);
    let commit = move || {
        put(&committer, 2);
        committer.commit(&tenant(), &add(2)).unwrap();
    };
    let interrupted = Arc::new(Interrupted {
        pointers: Arc::clone(&pointers),
        hook: Mutex::new(Some(Box::new(commit))),
    });
    let catalogs = Catalogs {
        pointers: interrupted,
        ..world.catalogs_of(&pointers)
    };
    let _busy_or_done = catalogs.rebuild(&tenant());
    assert_eq!(ids(&catalogs.current(&tenant()).unwrap()), [1, 2]);
    assert_eq!(ids(&world.catalogs().current(&tenant()).unwrap()), [1, 2]);
}

#[test]
fn a_rebuild_gives_way_to_a_commit_and_keeps_its_turn() {
    let world = World::new();
    let pointers = world.pointers();
    let other = world.catalogs_of(&pointers);
    put(&other, 1);
    // The number for the name of the version is drawn when all blocks were looked at.
    let hook: Arc<OnceLock<Hook>> = Arc::default();
    let drawn = Arc::clone(&hook);
    let catalogs = Arc::new(Catalogs {
        random: Arc::new(move || {
            drawn.get().inspect(|hook| hook());
            u64::MAX
        }),
        ..world.catalogs_of(&pointers)
    });
    let weak = Arc::downgrade(&catalogs);
    let hooked = move || {
        let catalogs = weak.upgrade().unwrap();
        let held = catalogs.committing.iter().filter(|turn| turn.is_locked());
        assert_eq!(held.count(), 1, "others of this process wait");
        put(&other, 2);
        other.commit(&tenant(), &add(2)).unwrap();
    };
    assert!(hook.set(Box::new(hooked)).is_ok());
    let error = catalogs.rebuild(&tenant()).unwrap_err();
    assert!(matches!(error, CatalogError::Busy { .. }), "{error}");
    assert_eq!(ids(&catalogs.current(&tenant()).unwrap()), [1, 2]);
    // Who only makes what is missing finds that nothing is.
    assert!(catalogs.rebuild_missing(&tenant()).unwrap().is_none());
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    let world = World::new();
    let catalogs = world.catalogs();
    put(&catalogs, 1);
    let large = ulid::new(2, 2);
    let key = block_key("t", &large, "meta.json");
    let bytes = vec![b' '; crate::meta::MAX_META_BYTES as usize + 1];
    catalogs.bucket.put(&key, bytes.into()).unwrap();
    // Somebody else's files in the folder for versions say nothing.
    let id = ulid::new(1, 1);
    for name in [
        format!("{}0-{id}.json", u64::MAX),
        format!("7-{id}.json"),
        format!("{:020}-notes.json", 8),
        format!("{:020}-{id}.txt", 9),
    ] {
        let key = format!("t/catalog/{name}");
        catalogs.bucket.put(&key, "x".into()).unwrap();
    }
    let rebuilt = catalogs.rebuild(&tenant()).unwrap();
    assert_eq!((rebuilt.version, rebuilt.blocks), (1, 1));
    assert_eq!(rebuilt.unreadable[0].block, large);
    assert!(rebuilt.unreadable[0].what.contains("more than"));
    // After the last number comes none.
    let last = format!("t/catalog/{:020}-{id}.json", u64::MAX);
    catalogs.bucket.put(&last, "x".into()).unwrap();
    let error = catalogs.rebuild(&tenant()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    catalogs.bucket.delete(&last).unwrap();
    // A bucket that is down says nothing about a block.
    world.store.set_down(true);
    assert!(catalogs.rebuild(&tenant()).is_err());
}

#[test]
fn pointers_of_a_while_ago_are_found_to_be_behind() {
    let world = World::new();
    let catalogs = world.catalogs();
    let commit = |catalogs: &Catalogs, number| {
        put(catalogs, number);
        catalogs.commit(&tenant(), &add(number)).unwrap();
    };
    commit(&catalogs, 1);
    let file = world.folder.path().join("p/t.json");
    let old = std::fs::read(&file).unwrap();
    let go_back = || {
        std::fs::write(&file, &old).unwrap();
        world.catalogs()
    };
    // One version may be there of a commit that came to no end.
    commit(&catalogs, 2);
    assert!(!catalogs.is_behind(&tenant()).unwrap());
    assert!(!go_back().is_behind(&tenant()).unwrap());
    commit(&world.catalogs(), 2);
    commit(&world.catalogs(), 3);
    let behind = go_back();
    assert!(behind.is_behind(&tenant()).unwrap());
    assert_eq!(behind.current(&tenant()).unwrap().blocks.len(), 1);
    behind.rebuild(&tenant()).unwrap();
    assert!(!behind.is_behind(&tenant()).unwrap());
    assert_eq!(behind.current(&tenant()).unwrap().blocks.len(), 3);
}
