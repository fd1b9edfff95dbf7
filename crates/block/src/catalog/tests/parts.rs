//! Catalogs that are large enough to be written in parts.

use super::*;

const MONTH: i64 = 30 * 86_400_000;

/// A block that begins in a span of thirty days.
fn in_month(month: i64, number: u64) -> BlockEntry {
    let mut entry = entry(number);
    entry.meta.min_time = month * MONTH + number as i64;
    entry.meta.max_time = entry.meta.min_time + 10;
    entry
}

fn adding(add: Vec<BlockEntry>) -> Change {
    Change {
        add,
        ..Change::default()
    }
}

/// Catalogs that divide those of more than three blocks.
fn divided(world: &World) -> Catalogs {
    Catalogs {
        split_above: 3,
        ..world.catalogs()
    }
}

/// How many requests a piece of work makes.
fn requests<T>(catalogs: &Catalogs, work: impl FnOnce() -> T) -> (T, u64) {
    let before = catalogs.bucket().requests();
    let result = work();
    (result, catalogs.bucket().requests() - before)
}

#[test]
fn a_large_catalog_is_written_and_read_in_parts() {
    let world = World::new();
    let pointers = world.pointers();
    let writer = Catalogs {
        split_above: 3,
        ..world.catalogs_of(&pointers)
    };
    let reader = world.catalogs_of(&pointers);
    let months = [-1, 0, 0, 2, 2].into_iter().zip(1..);
    let first = adding(
        months
            .map(|(month, number)| in_month(month, number))
            .collect(),
    );
    writer.commit(&tenant(), &first).unwrap();
    // Both have the same blocks; says in which months parts begin, and of how many blocks.
    let same = |work: &str, expected: u64| {
        let written = writer.current(&tenant()).unwrap();
        let (read, made) = requests(&reader, || reader.current(&tenant()).unwrap());
        assert_eq!(*read, *written, "{work}");
        assert_eq!(made, expected, "{work}");
        let parts = read.parts.iter().map(|part| part.start_ms / MONTH);
        (parts.collect::<Vec<_>>(), read.blocks.len())
    };
    // Its own object, and two parts.
    assert_eq!(same("all", 3), (vec![-1, 0], 5));
    // A commit to the newest month writes one object, and one is read.
    let commit = |change: &Change| requests(&writer, || writer.commit(&tenant(), change)).1;
    assert_eq!(commit(&adding(vec![in_month(2, 6)])), 1);
    assert_eq!(same("newest", 1), (vec![-1, 0], 6));
    // One to a month before writes that as well.
    assert_eq!(commit(&adding(vec![in_month(0, 7)])), 2);
    assert_eq!(same("older", 2), (vec![-1, 0], 7));
    // A new month makes a part of the one before.
    assert_eq!(commit(&adding(vec![in_month(3, 8)])), 2);
    assert_eq!(same("new", 2), (vec![-1, 0, 2], 8));
    // A month of which all is removed has no part.
    let remove = Change {
        remove: vec![in_month(-1, 1).id().to_owned()],
        ..Change::default()
    };
    assert_eq!(commit(&remove), 1);
    assert_eq!(same("removed", 1), (vec![0, 2], 7));
    // A process that knows nothing reads all of it.
    let fresh = world.catalogs_of(&pointers);
    let (read, made) = requests(&fresh, || fresh.current(&tenant()).unwrap());
    assert_eq!((read.blocks.len(), made), (7, 3));
    assert_eq!(read.format_version, 2);
    // A catalog that has become small is one object again.
    let remove = Change {
        remove: read.blocks[..4].iter().map(|b| b.id().to_owned()).collect(),
        ..Change::default()
    };
    assert_eq!(commit(&remove), 1);
    assert_eq!(same("small", 1), (Vec::new(), 3));
    assert_eq!(reader.current(&tenant()).unwrap().format_version, 1);
}

#[test]
fn a_part_that_is_not_what_was_written_is_an_error() {
    let world = World::new();
    let months = [0, 0, 1, 1].into_iter().zip(1..);
    let change = adding(
        months
            .map(|(month, number)| in_month(month, number))
            .collect(),
    );
    let written = divided(&world).commit(&tenant(), &change).unwrap();
    let part = &written.parts[0];
    let bucket = Arc::clone(world.catalogs().bucket());
    let whole = bucket.get(&part.object, 1 << 20).unwrap();
    let read = || world.catalogs().current(&tenant());
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        bucket.put(&part.object, bytes.into()).unwrap();
        let error = read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&part.object), "{error}");
    }
    bucket.put(&part.object, whole.slice(..100)).unwrap();
    assert_eq!(read().unwrap_err().kind(), ErrorKind::Corrupt);
    bucket.delete(&part.object).unwrap();
    let error = read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&part.object), "{error}");
    bucket.put(&part.object, whole).unwrap();
    assert_eq!(*read().unwrap(), *written);
}

/// A commit that ends at any request leaves the version before, or the new one.
#[test]
fn a_commit_in_parts_that_fails_leaves_what_was() {
    let world = World::new();
    let months = [0, 0, 1, 1].into_iter().zip(1..);
    let first = adding(
        months
            .map(|(month, number)| in_month(month, number))
            .collect(),
    );
    let before = divided(&world).commit(&tenant(), &first).unwrap();
    let change = adding(vec![in_month(0, 5), in_month(1, 6), in_month(2, 7)]);
    // The two parts of older months, and the version.
    for failing in 0..3 {
        let catalogs = divided(&world);
        catalogs.current(&tenant()).unwrap();
        world.store.fail(&[(failing, Fault::Before)]);
        catalogs.commit(&tenant(), &change).unwrap_err();
        assert_eq!(*world.catalogs().current(&tenant()).unwrap(), *before);
    }
    divided(&world).commit(&tenant(), &change).unwrap();
    let read = world.catalogs().current(&tenant()).unwrap();
    assert_eq!((read.version, read.blocks.len()), (2, 7));
}

/// What a reader would refuse is not made the current version.
#[test]
fn a_version_that_is_too_large_to_be_read_is_not_committed() {
    let world = World::new();
    let months = [0, 0, 1, 2].into_iter().zip(1..);
    let first = months.map(|(month, number)| in_month(month, number));
    let before = divided(&world).commit(&tenant(), &adding(first.collect()));
    let before = before.unwrap();
    let largest = before.parts[0].bytes;
    let check = |bounds: codec::Bounds, month: i64, limit: &str| {
        let catalogs = Catalogs {
            bounds,
            ..divided(&world)
        };
        let change = adding(vec![in_month(month, 9)]);
        let error = catalogs.commit(&tenant(), &change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooMany);
        let text = error.to_string();
        assert!(text.contains("tenant t") && text.contains(limit), "{text}");
        for catalogs in [catalogs, world.catalogs()] {
            assert_eq!(*catalogs.current(&tenant()).unwrap(), *before);
        }
    };
    let few_bytes = codec::Bounds {
        object_bytes: largest,
        ..codec::Bounds::default()
    };
    // A part, and the version's own object.
    check(few_bytes, 0, "MAX_CATALOG_BYTES");
    check(few_bytes, 2, "MAX_CATALOG_BYTES");
    let few_parts = codec::Bounds {
        parts: 2,
        ..codec::Bounds::default()
    };
    check(few_parts, 3, "MAX_PARTS");
}

/// The golden files of version 2 of the format: what is written has their bytes, and they are read.
#[test]
fn the_golden_files_of_a_catalog_in_parts_hold() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/catalog-v2");
    let world = World::new();
    let catalogs = divided(&world);
    let months = [0, 0, 1, 2].into_iter().zip(1..);
    let change = adding(
        months
            .map(|(month, number)| in_month(month, number))
            .collect(),
    );
    let written = catalogs.commit(&tenant(), &change).unwrap();
    let objects = catalogs.bucket().list("t/catalog", 10).unwrap();
    let get = |key: &str| catalogs.bucket().get(key, 1 << 20).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = objects
        .iter()
        .map(|object| (object.key.replace('/', "_"), get(&object.key).to_vec()))
        .collect();
    let pointer = std::fs::read(world.folder.path().join("p/t.json")).unwrap();
    files.push(("pointer.json".to_owned(), pointer));
    if !golden.exists() {
        std::fs::create_dir_all(&golden).unwrap();
        for (name, bytes) in &files {
            std::fs::write(golden.join(name), bytes).unwrap();
        }
        panic!("golden files were written: look at them, and run again");
    }
    assert_eq!(std::fs::read_dir(&golden).unwrap().count(), files.len());
    for (name, bytes) in &files {
        assert_eq!(&std::fs::read(golden.join(name)).unwrap(), bytes, "{name}");
    }
    let other = World::new();
    std::fs::create_dir_all(other.folder.path().join("p")).unwrap();
    let pointer = golden.join("pointer.json");
    std::fs::copy(pointer, other.folder.path().join("p/t.json")).unwrap();
    let catalogs = other.catalogs();
    for object in &objects {
        let bytes = std::fs::read(golden.join(object.key.replace('/', "_"))).unwrap();
        catalogs.bucket().put(&object.key, bytes.into()).unwrap();
    }
    assert_eq!(*catalogs.current(&tenant()).unwrap(), *written);
}
