//! What the writer takes, and that it writes the same bytes each time.

use std::sync::Arc;

use block::{Block, BlockError, BlockSpec, BlockWriter};
use model::error::ErrorKind;
use model::select::SeriesSamples;

use crate::series::{HOUR, ID, START, Series, floats, histogram, labels, mixed, spec, write};

#[test]
fn the_writer_refuses_what_can_not_stand_in_a_block() {
    let check = |series: &[Series], expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID);
        let mut writer = BlockWriter::create(&path, spec(HOUR, 2)).unwrap();
        let pushed = series
            .iter()
            .try_for_each(|(labels, samples)| writer.push(labels, samples));
        let error = match pushed {
            Ok(()) => writer.finish().unwrap_err(),
            Err(error) => {
                let refused = writer.finish().unwrap_err();
                assert!(refused.to_string().contains("was refused"), "{refused}");
                error
            }
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(Block::open(&path).is_err());
    };
    let up = |ts: Vec<i64>| (labels("up", &[]), floats(ts, |_| 1.0));
    check(&[], "no samples");
    check(&[up(vec![START]), up(vec![START])], "out of order");
    check(
        &[
            up(vec![START]),
            (labels("a", &[]), floats(vec![START], |_| 1.0)),
        ],
        "out of order",
    );
    check(&[up(vec![START, START])], "samples of up are out of order");
    check(&[up(vec![START - 1])], "outside");
    check(&[up(vec![START + 2 * HOUR])], "outside");
    let mut broken = histogram(START, 1, 3);
    Arc::make_mut(&mut broken.histogram)
        .positive_buckets
        .push(1.0);
    let samples = SeriesSamples {
        histograms: vec![broken],
        ..SeriesSamples::default()
    };
    check(&[(labels("up", &[]), samples)], "spans cover 2 buckets");
    let folder = tempfile::tempdir().unwrap();
    let bad = BlockSpec {
        id: "x".to_owned(),
        ..spec(HOUR, 2)
    };
    assert!(matches!(
        BlockWriter::create(&folder.path().join("b"), bad),
        Err(BlockError::Invalid { .. })
    ));
}

#[test]
fn the_same_series_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("1"), folder.path().join("2"));
    let series = mixed(3);
    assert_eq!(
        write(&one, spec(HOUR, 3), &series),
        write(&other, spec(HOUR, 3), &series)
    );
}
