//! What a select finds, and what it reads for that.

use std::fs;
use std::sync::Arc;

use block::Block;
use model::error::ErrorKind;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, LookupBounds, SelectRequest};
use model::time::TimeRange;

use crate::series::{
    HOUR, ID, START, Series, collect, floats, labels, mixed, request, select, shown, spec, write,
};

#[test]
fn a_block_gives_back_what_was_written() {
    for (slice, hours) in [(2 * HOUR, 2), (HOUR / 2, 3), (HOUR, 24)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID);
        let series = mixed(hours);
        let meta = write(&path, spec(slice, hours), &series);
        let mut files: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        files.sort();
        let expected = [
            "meta.json",
            "postings.parquet",
            "samples-raw.parquet",
            "series.parquet",
            "timelines-raw.parquet",
        ];
        assert_eq!(files, expected);
        let block = Arc::new(Block::open(&path).unwrap());
        assert_eq!(*block.meta(), meta);
        assert_eq!(meta.statistics.series, series.len() as u64);
        block.verify().unwrap();
        for range in [
            TimeRange::all(),
            TimeRange {
                start: START + HOUR / 2 + 17,
                end: START + HOUR + 3_000,
            },
            TimeRange {
                start: START + HOUR,
                end: START + HOUR,
            },
            TimeRange {
                start: 0,
                end: START,
            },
            TimeRange::inclusive(START, START),
        ] {
            let found = select(&block, &request(Vec::new(), range)).unwrap();
            assert_eq!(shown(&found, range), shown(&series, range), "{range:?}");
            let split = block.select(&request(Vec::new(), range)).unwrap().split(4);
            assert!(split.len() <= 4);
            let parts = split.into_iter().map(|part| collect(part).unwrap());
            let joined: Vec<Series> = parts.flatten().collect();
            assert_eq!(shown(&joined, range), shown(&series, range), "{range:?}");
        }
    }
}

#[test]
fn matchers_find_what_they_find_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    let series = mixed(2);
    write(&path, spec(2 * HOUR, 2), &series);
    let block = Arc::new(Block::open(&path).unwrap());
    let m = |name: &str, op: MatchOp, value: &str| Matcher::new(name, op, value).unwrap();
    let name = "__name__";
    let cases = [
        vec![m(name, MatchOp::Equal, "up")],
        vec![
            m(name, MatchOp::Regex, "up|gone|no"),
            m("instance", MatchOp::Regex, ".*[1-3]:9100"),
        ],
        vec![m(name, MatchOp::NotEqual, "up")],
        vec![m(name, MatchOp::NotRegex, "up|gone")],
        vec![m("only", MatchOp::Regex, ".+")],
        vec![m("only", MatchOp::Equal, "")],
        vec![m("job", MatchOp::NotRegex, ".+")],
        vec![m("job", MatchOp::Equal, "none")],
        vec![m("absent", MatchOp::Equal, "x")],
        vec![
            m("absent", MatchOp::NotEqual, "x"),
            m("ü", MatchOp::Equal, "ß"),
        ],
        vec![
            m(name, MatchOp::Equal, "up"),
            m("instance", MatchOp::NotRegex, "10.0.0.[25].*"),
        ],
    ];
    let bounds = LookupBounds::default();
    for matchers in cases {
        let holds = |labels: &Labels| {
            matchers
                .iter()
                .all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
        };
        let expected: Vec<Series> = series.iter().filter(|(l, _)| holds(l)).cloned().collect();
        let range = TimeRange::all();
        let found = select(&block, &request(matchers.clone(), range)).unwrap();
        assert_eq!(
            shown(&found, range),
            shown(&expected, range),
            "{matchers:?}"
        );
        let found: Vec<Labels> = block.series(&matchers, &bounds).unwrap();
        assert!(
            found.iter().eq(expected.iter().map(|(l, _)| l)),
            "{matchers:?}"
        );
        let mut names: Vec<&str> = expected
            .iter()
            .flat_map(|(l, _)| l.iter().map(|(n, _)| n))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            block.label_names(&matchers, &bounds).unwrap(),
            names,
            "{matchers:?}"
        );
        let mut values: Vec<&str> = expected
            .iter()
            .filter_map(|(l, _)| l.get("instance"))
            .collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(
            block.label_values("instance", &matchers, &bounds).unwrap(),
            values
        );
    }
    assert_eq!(block.label_names(&[], &bounds).unwrap().len(), 6);
    assert_eq!(
        block.label_values("instance", &[], &bounds).unwrap().len(),
        7
    );
    let only = SelectRequest {
        labels: LabelsNeeded::Only(vec![Arc::from("job")]),
        ..request(vec![m(name, MatchOp::Equal, "up")], TimeRange::all())
    };
    for (found, _) in select(&block, &only).unwrap() {
        assert_eq!(found, Labels::from_pairs([("job", "node")]));
    }
    let none = SelectRequest {
        labels: LabelsNeeded::Only(Vec::new()),
        ..only
    };
    let found = select(&block, &none).unwrap();
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|(labels, _)| labels.is_empty()));
}

#[test]
fn bounds_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    write(&path, spec(2 * HOUR, 2), &mixed(2));
    let block = Arc::new(Block::open(&path).unwrap());
    let mut bounded = request(Vec::new(), TimeRange::all());
    bounded.max_series = 3;
    let error = block.select(&bounded).err().unwrap();
    assert_eq!(error.kind, ErrorKind::TooMany);
    let few = LookupBounds {
        max_bytes: 10,
        ..LookupBounds::default()
    };
    assert_eq!(
        block.label_values("instance", &[], &few).unwrap_err().kind,
        ErrorKind::TooMany
    );
    let stopped = LookupBounds {
        stop: Some(Arc::new(|| true)),
        ..LookupBounds::default()
    };
    assert_eq!(
        block.label_names(&[], &stopped).unwrap_err().kind,
        ErrorKind::Unavailable
    );
}

/// What is damaged elsewhere does not matter to a select: it reads no page it does not need.
#[test]
fn a_select_reads_only_its_own_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    let mut series = Vec::new();
    for name in ["a", "z"] {
        for number in 0..60 {
            let ts = (0..480).map(|i| START + i * 15_000).collect();
            let noise = move |at: usize| ((at * 7919 + number * 104_729) as f64).sqrt();
            let own = labels(name, &[("n", &format!("{number:02}"))]);
            series.push((own, floats(ts, noise)));
        }
    }
    let meta = write(&path, spec(2 * HOUR, 2), &series);
    let file = path.join("samples-raw.parquet");
    let whole = fs::read(&file).unwrap();
    let end = meta.file("samples-raw.parquet").unwrap().tail_offset as usize;
    for (at, damaged, other) in [(end / 4, "a", "z"), (end / 4 * 3, "z", "a")] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        let block = Arc::new(Block::open(&path).unwrap());
        let named = |name| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
        let found = select(&block, &request(named(other), TimeRange::all())).unwrap();
        assert_eq!(found.len(), 60);
        let error = select(&block, &request(named(damaged), TimeRange::all())).unwrap_err();
        assert!(error.contains("checksum"), "{error}");
        assert_eq!(block.verify().unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
