//! What every kind of bucket does alike: one list of demands for memory, folders and servers.

use std::path::Path;

use bytes::Bytes;

use super::Bucket;

/// Asks everything of an empty bucket; a file is written into `folder`.
///
/// # Panics
/// Where it does something else than others.
pub fn check(bucket: &Bucket, folder: &Path) {
    bucket.check("1").expect("an answer");
    let get = |key: &str| bucket.get(key, 1 << 20);
    bucket
        .put("t!_.*'()-/a/one", Bytes::from_static(b"first"))
        .expect("an answer");
    bucket
        .put("t!_.*'()-/a/one", Bytes::from_static(b"second"))
        .expect("an answer");
    assert_eq!(get("t!_.*'()-/a/one").expect("an answer"), "second");
    assert!(
        get("t!_.*'()-/a/two")
            .expect_err("a refusal")
            .is_not_found()
    );
    let long = bucket.get("t!_.*'()-/a/one", 3).expect_err("a refusal");
    assert!(long.to_string().contains("6 bytes"), "{long}");

    let file = folder.join("large");
    let bytes: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &bytes).expect("an answer");
    assert_eq!(
        bucket.put_file("t/large", &file).expect("an answer"),
        bytes.len() as u64
    );
    let ranges = [0..4, 4..10, 1000..1004, 19 << 20..(19 << 20) + 7];
    let got = bucket.get_ranges("t/large", &ranges).expect("an answer");
    for (range, got) in ranges.iter().zip(got) {
        assert_eq!(got, bytes[range.start as usize..range.end as usize]);
    }
    assert_eq!(bucket.get("t/large", 1 << 30).expect("an answer"), bytes);
    let end = bytes.len() as u64;
    assert!(
        bucket
            .get_ranges("t/large", &[0..1, end - 3..end + 3])
            .is_err()
    );
    assert!(
        bucket
            .get_ranges("t/none", &[0..1, 2..3])
            .expect_err("a refusal")
            .is_not_found()
    );

    for number in 0..1_100 {
        bucket
            .put(&format!("many/{number:04}"), Bytes::new())
            .expect("an answer");
    }
    let listed = bucket.list("many", 2_000).expect("an answer");
    assert_eq!(listed.len(), 1_100);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(listed[7].key, "many/0007");
    assert!(bucket.list("many", 1_000).is_err());
    assert!(bucket.list("nothing", 10).expect("an answer").is_empty());
    assert_eq!(
        bucket.list_folders("").expect("an answer"),
        ["many", "t", "t!_.*'()-"]
    );
    assert_eq!(bucket.list_folders("t!_.*'()-").expect("an answer"), ["a"]);
    bucket.delete("t!_.*'()-/a/one").expect("an answer");
    bucket.delete("t!_.*'()-/a/one").expect("an answer");
    assert!(
        get("t!_.*'()-/a/one")
            .expect_err("a refusal")
            .is_not_found()
    );
}
