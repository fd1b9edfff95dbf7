//! Exemplars beside the samples of a block, and the files of the first version, which have both.

use std::path::Path;
use std::sync::Arc;

use block::{Block, BlockSpec, BlockWriter};
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::select::{LookupBounds, SeriesSamples};
use model::time::TimeRange;

use crate::series::{HOUR, ID, START, Series, floats, labels, mixed, request, select, shown, spec};

pub(crate) type Exemplars = (Labels, Vec<Exemplar>);

/// Exemplars of every second series; of each three, two at the same time, one without labels.
pub(crate) fn exemplars_of(series: &[Series]) -> Vec<Exemplars> {
    let own = |(number, (labels, samples)): (usize, &Series)| {
        let first = samples.ts.first().copied();
        let t = first.unwrap_or_else(|| samples.histograms[0].t);
        let trace = format!("{:032x}", (number as u128 + 1) * 0x9e37_79b9_7f4a_7c15);
        let exemplar = |at: i64| Exemplar {
            labels: match at {
                0 => Labels::empty(),
                _ => Labels::from_pairs([("trace_id", trace.as_str()), ("span_id", "ü")]),
            },
            v: if at == 1 { -0.0 } else { number as f64 * 0.1 },
            t: t + at / 2,
        };
        (labels.clone(), (0..3).map(exemplar).collect())
    };
    series.iter().enumerate().step_by(2).map(own).collect()
}

pub(crate) fn write_with_exemplars(
    folder: &Path,
    spec: BlockSpec,
    series: &[Series],
    exemplars: &[Exemplars],
) -> block::BlockMeta {
    let mut writer = BlockWriter::create(folder, spec).unwrap();
    for (labels, samples) in series {
        writer.push(labels, samples).unwrap();
        for (_, exemplars) in exemplars.iter().filter(|(own, _)| own == labels) {
            writer.push_exemplars(labels, exemplars).unwrap();
        }
    }
    writer.finish().unwrap()
}

pub(crate) fn exemplars_text(exemplars: &[Exemplars]) -> Vec<String> {
    let one = |e: &Exemplar| format!("{}@{} {:x}", e.labels, e.t, e.v.to_bits());
    let all = |(labels, exemplars): &Exemplars| {
        let all: Vec<String> = exemplars.iter().map(one).collect();
        format!("{labels}: {}", all.join(", "))
    };
    exemplars.iter().map(all).collect()
}

#[test]
fn exemplars_come_back_by_series_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    let series = mixed(2);
    let exemplars = exemplars_of(&series);
    let meta = write_with_exemplars(&path, spec(HOUR, 2), &series, &exemplars);
    let rows = meta.file("exemplars.parquet").unwrap().rows;
    assert_eq!(rows, 3 * exemplars.len() as u64);
    let block = Arc::new(Block::open(&path).unwrap());
    block.verify().unwrap();
    let found = select(&block, &request(Vec::new(), TimeRange::all())).unwrap();
    let all = TimeRange::all();
    assert_eq!(shown(&found, all), shown(&series, all));
    let bounds = LookupBounds::default();
    let found = block.exemplars(&[], all, &bounds).unwrap();
    assert_eq!(exemplars_text(&found), exemplars_text(&exemplars));

    let up = Matcher::new("__name__", MatchOp::Equal, "up").unwrap();
    let first = exemplars
        .iter()
        .find(|(labels, _)| up.matches(labels.metric_name().unwrap_or_default()));
    let first = first.unwrap().1[0].t;
    let expected = exemplars.iter().filter_map(|(labels, exemplars)| {
        let kept = exemplars.iter().filter(|e| e.t == first).cloned();
        let kept: Vec<Exemplar> = kept.collect();
        (up.matches(labels.metric_name().unwrap_or_default()) && !kept.is_empty())
            .then(|| (labels.clone(), kept))
    });
    let expected: Vec<Exemplars> = expected.collect();
    let range = TimeRange::inclusive(first, first);
    let found = block.exemplars(&[up], range, &bounds).unwrap();
    assert_eq!(exemplars_text(&found), exemplars_text(&expected));
    assert!(
        block
            .exemplars(&[], TimeRange::inclusive(0, 1), &bounds)
            .unwrap()
            .is_empty()
    );

    let few = LookupBounds {
        max_bytes: 100,
        ..LookupBounds::default()
    };
    assert_eq!(
        block.exemplars(&[], all, &few).unwrap_err().kind,
        ErrorKind::TooMany
    );
    let few = LookupBounds {
        max_series: 2,
        ..LookupBounds::default()
    };
    assert_eq!(
        block.exemplars(&[], all, &few).unwrap_err().kind,
        ErrorKind::TooMany
    );
}

#[test]
fn exemplars_need_a_series_and_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let up = labels("up", &[]);
    let exemplar = |t: i64| Exemplar {
        labels: Labels::empty(),
        v: 1.0,
        t,
    };
    let begin = |name: &str| {
        let mut writer = BlockWriter::create(&folder.path().join(name), spec(HOUR, 2)).unwrap();
        writer
            .push(&labels("gone", &[]), &SeriesSamples::default())
            .unwrap();
        // It has no samples, so that it is left out with its exemplars.
        writer
            .push_exemplars(&labels("gone", &[]), &[exemplar(START)])
            .unwrap();
        writer.push(&up, &floats(vec![START], |_| 1.0)).unwrap();
        writer
    };
    let meta = begin("none").finish().unwrap();
    assert!(meta.file("exemplars.parquet").is_none());
    let block = Block::open(&folder.path().join("none")).unwrap();
    let found = block
        .exemplars(&[], TimeRange::all(), &LookupBounds::default())
        .unwrap();
    assert!(found.is_empty());

    let check = |name: &str, own: &Labels, times: &[i64], expected: &str| {
        let mut writer = begin(name);
        let exemplars: Vec<Exemplar> = times.iter().copied().map(exemplar).collect();
        let error = writer.push_exemplars(own, &exemplars).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            writer
                .finish()
                .unwrap_err()
                .to_string()
                .contains("was refused")
        );
    };
    check(
        "before",
        &labels("a", &[]),
        &[START],
        "exemplars of a came out of order",
    );
    check("order", &up, &[START + 1, START], "out of order or outside");
    check("range", &up, &[START - 1], "out of order or outside");
}

/// Files of the first version, kept for ever. They were made by writing these series, and exemplars
/// of them.
#[test]
fn files_of_version_1_stay_readable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-v1");
    let series: Vec<Series> = mixed(2).into_iter().step_by(3).collect();
    let block = Arc::new(Block::open(&path).unwrap());
    block.verify().unwrap();
    assert_eq!(block.meta().format_version, 1);
    let all = TimeRange::all();
    let found = select(&block, &request(Vec::new(), all)).unwrap();
    assert_eq!(shown(&found, all), shown(&series, all));
    let found = block.exemplars(&[], all, &LookupBounds::default()).unwrap();
    assert_eq!(
        exemplars_text(&found),
        exemplars_text(&exemplars_of(&series))
    );
}
