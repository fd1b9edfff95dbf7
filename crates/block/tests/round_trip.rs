//! Blocks give back what was written, bit for bit, and never hand out damaged bytes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use block::{Block, BlockError, BlockSpec, BlockWriter, SortKey};
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::stale_nan;
use model::select::{
    HistogramPoint, LabelsNeeded, LookupBounds, SelectRequest, SeriesSamples, SeriesSet,
};
use model::tenant::TenantId;
use model::time::TimeRange;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_700_000_000_000;
const ID: &str = "01HF7YAT00AAAAAAAAAAAAAAAA";

type Series = (Labels, SeriesSamples);

fn spec(slice_ms: i64, hours: i64) -> BlockSpec {
    BlockSpec {
        id: ID.to_owned(),
        tenant: TenantId::anonymous(),
        range: TimeRange {
            start: START,
            end: START + hours * HOUR,
        },
        slice_ms,
        level: 1,
        sources: Vec::new(),
    }
}

fn write(folder: &Path, spec: BlockSpec, series: &[Series]) -> block::BlockMeta {
    let mut writer = BlockWriter::create(folder, spec).unwrap();
    for (labels, samples) in series {
        writer.push(labels, samples).unwrap();
    }
    writer.finish().unwrap()
}

fn request(matchers: Vec<Matcher>, range: TimeRange) -> SelectRequest {
    SelectRequest {
        matchers,
        range,
        labels: LabelsNeeded::All,
        max_series: 0,
    }
}

fn collect(mut set: Box<dyn SeriesSet>) -> Result<Vec<Series>, String> {
    let mut all = Vec::new();
    let mut samples = SeriesSamples::default();
    while let Some(labels) = set.next(&mut samples).map_err(|e| e.to_string())? {
        all.push((labels, std::mem::take(&mut samples)));
    }
    Ok(all)
}

fn select(block: &Arc<Block>, request: &SelectRequest) -> Result<Vec<Series>, String> {
    collect(block.select(request).map_err(|e| e.to_string())?)
}

/// Everything about a series, with floats as bits.
fn shown(series: &[Series], range: TimeRange) -> Vec<String> {
    let mut all = Vec::new();
    for (labels, samples) in series {
        let mut text = format!("{labels}");
        let starts = samples.starts.iter().any(|start| *start != 0);
        for (at, t) in samples
            .ts
            .iter()
            .enumerate()
            .filter(|(_, t)| range.contains(**t))
        {
            let start = samples
                .starts
                .get(at)
                .filter(|_| starts)
                .copied()
                .unwrap_or_default();
            text += &format!(" {t}:{:x}/{start}", samples.values[at].to_bits());
        }
        for point in samples
            .histograms
            .iter()
            .filter(|point| range.contains(point.t))
        {
            text += &format!(
                " {}/{}:{}",
                point.t,
                point.start,
                histogram_text(&point.histogram)
            );
        }
        if text.contains(' ') && text.len() > format!("{labels}").len() {
            all.push(text);
        }
    }
    all
}

fn histogram_text(h: &FloatHistogram) -> String {
    let side = |spans: &[Span], counts: &[f64]| {
        let mut index = 0;
        let mut counts = counts.iter();
        let mut text = String::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                text += &format!("{index}={:x},", counts.next().unwrap().to_bits());
                index += 1;
            }
        }
        text
    };
    let bits: Vec<u64> = h.custom_values.iter().map(|v| v.to_bits()).collect();
    format!(
        "{:?} {} {:x} {:x} {:x} {:x} +{} -{} {bits:?}",
        h.reset_hint,
        h.schema,
        h.zero_threshold.to_bits(),
        h.zero_count.to_bits(),
        h.count.to_bits(),
        h.sum.to_bits(),
        side(&h.positive_spans, &h.positive_buckets),
        side(&h.negative_spans, &h.negative_buckets),
    )
}

fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([("__name__", name)]))
}

fn floats(ts: Vec<i64>, value: impl Fn(usize) -> f64) -> SeriesSamples {
    SeriesSamples {
        values: (0..ts.len()).map(value).collect(),
        ts,
        ..SeriesSamples::default()
    }
}

fn histogram(t: i64, grown: i32, schema: i32) -> HistogramPoint {
    let custom = schema == CUSTOM_BUCKETS_SCHEMA;
    let buckets = 1 + (grown % 5) as u32;
    let positive: Vec<f64> = (0..buckets)
        .map(|b| f64::from(grown * 3 + b as i32))
        .collect();
    HistogramPoint {
        t,
        start: if grown % 2 == 0 { START - 5 } else { 0 },
        histogram: Arc::new(FloatHistogram {
            reset_hint: [
                ResetHint::Unknown,
                ResetHint::NotReset,
                ResetHint::Reset,
                ResetHint::Gauge,
            ][grown as usize % 4],
            schema,
            zero_threshold: if custom { 0.0 } else { 1e-128 },
            zero_count: if custom { 0.0 } else { f64::from(grown) },
            count: f64::from(grown * 7),
            sum: if grown == 9 {
                stale_nan()
            } else {
                f64::from(grown) * 0.1
            },
            positive_spans: vec![Span {
                offset: if custom { 0 } else { -2 },
                length: buckets,
            }],
            positive_buckets: positive,
            negative_spans: if custom {
                Vec::new()
            } else {
                vec![
                    Span {
                        offset: 3,
                        length: 1,
                    },
                    Span {
                        offset: 2,
                        length: 1,
                    },
                ]
            },
            negative_buckets: if custom { Vec::new() } else { vec![0.5, -0.0] },
            custom_values: if custom {
                vec![0.1, 0.5, 1.0, 5.0, 10.0]
            } else {
                Vec::new()
            },
        }),
    }
}

/// A block of a few metrics with all that a series can have.
fn mixed(hours: i64) -> Vec<Series> {
    let end = START + hours * HOUR;
    let every = |from: i64, step: i64, jitter: i64| -> Vec<i64> {
        (0..)
            .map(|i| from + i * step + i % 3 * jitter)
            .take_while(|t| *t < end)
            .collect()
    };
    let mut all = Vec::new();
    for instance in 0..7 {
        let i = f64::from(instance);
        let name = format!("10.0.0.{instance}:9100");
        let own = [("job", "node"), ("instance", name.as_str())];
        let ts = every(START + i64::from(instance) * 977, 15_000, 7);
        all.push((labels("up", &own), floats(ts.clone(), |_| 1.0)));
        let mut counter = floats(ts.clone(), |at| (at as f64 + i) * 4096.0);
        counter.starts = vec![START - 1000; ts.len()];
        all.push((labels("bytes_total", &own), counter));
        all.push((
            labels("cpu_seconds_total", &own),
            floats(ts.clone(), |at| (at as f64 * 7.0 + i) / 100.0),
        ));
        all.push((
            labels("ratio", &own),
            floats(ts.clone(), |at| (at as f64 + i).sqrt()),
        ));
        let mut gone = floats(ts[10..ts.len() / 2].to_vec(), |at| at as f64);
        *gone.values.last_mut().unwrap() = stale_nan();
        all.push((labels("gone", &own), gone));
        let mut native = SeriesSamples::default();
        for (at, t) in ts.iter().step_by(40).enumerate() {
            let schema = if at < 10 { 3 } else { CUSTOM_BUCKETS_SCHEMA };
            native.histograms.push(histogram(*t, at as i32, schema));
        }
        native.ts.push(ts[1]);
        native.values.push(f64::NEG_INFINITY);
        all.push((labels("latency", &own), native));
    }
    all.push((
        labels("", &[("only", "labels")]),
        floats(vec![START], |_| -0.0),
    ));
    all.push((
        labels("Upper", &[("Z", "1"), ("ü", "ß")]),
        floats(vec![end - 1], |_| f64::from_bits(0x7ff8_0000_dead_beef)),
    ));
    all.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    all
}

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

type Exemplars = (Labels, Vec<Exemplar>);

/// Exemplars of every second series; of each three, two at the same time, one without labels.
fn exemplars_of(series: &[Series]) -> Vec<Exemplars> {
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

fn write_with_exemplars(
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

fn exemplars_text(exemplars: &[Exemplars]) -> Vec<String> {
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

/// Each byte of each file, in one way or another: an error, or the same answer.
#[test]
fn damage_is_an_error_or_without_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ID);
    let series: Vec<Series> = mixed(2).into_iter().step_by(5).collect();
    let exemplars = exemplars_of(&series);
    let meta = write_with_exemplars(&path, spec(HOUR, 2), &series, &exemplars);
    let expected = shown(&series, TimeRange::all());
    let expected_exemplars = exemplars_text(&exemplars);
    for file in &meta.files {
        let whole = fs::read(path.join(&file.name)).unwrap();
        let step = (whole.len() / 150).max(1);
        for at in (0..whole.len())
            .step_by(step)
            .chain(whole.len() - 12..whole.len())
        {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(path.join(&file.name), &bad).unwrap();
            let read = Block::open(&path)
                .map_err(|e| e.to_string())
                .and_then(|block| {
                    let error = block.verify().unwrap_err();
                    assert!(
                        error.to_string().contains(ID) && error.to_string().contains(&file.name)
                    );
                    let bounds = LookupBounds::default();
                    if let Ok(found) = block.exemplars(&[], TimeRange::all(), &bounds) {
                        assert_eq!(exemplars_text(&found), expected_exemplars);
                    }
                    select(&Arc::new(block), &request(Vec::new(), TimeRange::all()))
                });
            if let Ok(found) = read {
                assert_eq!(
                    shown(&found, TimeRange::all()),
                    expected,
                    "{} at {at}",
                    file.name
                );
            }
        }
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(path.join(&file.name), &whole[..length]).unwrap();
            let error = Block::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        fs::remove_file(path.join(&file.name)).unwrap();
        assert_eq!(
            Block::open(&path).unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        fs::write(path.join(&file.name), &whole).unwrap();
    }
    Block::open(&path).unwrap().verify().unwrap();
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..5_i64).prop_map(|i| i as f64),
        2 => (-50_000..50_000_i64).prop_map(|i| i as f64 / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(stale_nan()),
        1 => Just(-0.0),
    ]
}

fn any_series() -> impl Strategy<Value = SeriesSamples> {
    let times = prop::collection::btree_set(0..4 * HOUR, 0..30);
    let shared =
        prop::sample::subsequence((0..40_i64).map(|i| i * 300_000).collect::<Vec<_>>(), 0..40);
    let ts = prop_oneof![
        times.prop_map(|ts| ts.into_iter().collect::<Vec<_>>()),
        shared
    ];
    (
        ts,
        prop::collection::vec(any_value(), 40),
        any::<bool>(),
        0..8_i32,
        0..40_usize,
    )
        .prop_map(|(ts, values, starts, kind, cut)| {
            let ts: Vec<i64> = ts
                .into_iter()
                .map(|t| t + START)
                .filter(|t| *t < START + 4 * HOUR)
                .collect();
            let cut = if kind < 5 {
                ts.len()
            } else {
                cut.min(ts.len())
            };
            let mut samples = SeriesSamples {
                values: values[..cut].to_vec(),
                ts: ts[..cut].to_vec(),
                starts: if starts {
                    ts[..cut].iter().map(|t| t / 60_000).collect()
                } else {
                    Vec::new()
                },
                histograms: Vec::new(),
            };
            for (at, t) in ts[cut..].iter().enumerate() {
                let schema = if kind == 7 {
                    CUSTOM_BUCKETS_SCHEMA
                } else {
                    at as i32 / 9
                };
                samples.histograms.push(histogram(*t, at as i32, schema));
            }
            samples
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_block_gives_back_what_was_written(
        series in prop::collection::vec((0..4_u8, "[a-c]{0,2}", "[x-zß]{0,2}", any_series()), 1..12),
        slice_minutes in 20..400_i64,
        from in 0..4 * HOUR,
        length in 0..4 * HOUR,
    ) {
        let mut all: Vec<Series> = Vec::new();
        for (metric, instance, other, samples) in series {
            let name = format!("m{metric}");
            all.push((labels(&name, &[("instance", &instance), ("l", &other)]), samples));
        }
        all.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        prop_assume!(all.iter().any(|(_, samples)| !samples.is_empty()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID);
        write(&path, spec((slice_minutes * 60_000).min(4 * HOUR), 4), &all);
        let block = Arc::new(Block::open(&path).unwrap());
        for range in [TimeRange::all(), TimeRange { start: START + from, end: START + from + length }] {
            let found = select(&block, &request(Vec::new(), range)).unwrap();
            prop_assert_eq!(shown(&found, range), shown(&all, range));
        }
    }
}
