//! Checks of kernels: samples and results as short texts.
//!
//! Samples stand 10 s apart from time 0, separated by blanks: a number, `_` for none, or a name of a
//! histogram. Results are the values of the steps in the same notation, then the notes.

use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};
use model::select::{HistogramPoint, SeriesSamples};

use crate::annotations::{Annotations, Pos};
use crate::eval::column::{ABSENT, Column, ScalarColumn, Steps};
use crate::eval::kernel::{ElementKernel, KernelContext, RangeInput, RangeKernel, Windows};

/// Milliseconds between samples.
const INTERVAL: i64 = 10_000;

/// `h1`, `h2.5`, …: one populated bucket; `g…`, the same as a gauge; `c…`, with custom buckets.
pub(super) fn histogram(text: &str) -> Option<FloatHistogram> {
    let kind = text.chars().next()?;
    let count: f64 = text[1..].parse().ok()?;
    let custom = kind == 'c';
    matches!(kind, 'h' | 'g' | 'c' | 'r' | 'n').then(|| FloatHistogram {
        reset_hint: match kind {
            'g' => ResetHint::Gauge,
            'r' => ResetHint::Reset,
            'n' => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        },
        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 0 },
        count,
        sum: 2.0 * count,
        positive_spans: vec![Span {
            offset: 1,
            length: 1,
        }],
        positive_buckets: vec![count],
        custom_values: if custom { vec![1.0, 2.0] } else { Vec::new() },
        ..FloatHistogram::default()
    })
}

/// Samples as described above.
pub(super) fn samples(text: &str) -> SeriesSamples {
    let mut samples = SeriesSamples::default();
    for (i, word) in text.split_whitespace().enumerate() {
        let t = i as i64 * INTERVAL;
        if let Some(histogram) = histogram(word) {
            let histogram = Arc::new(histogram);
            samples.histograms.push(HistogramPoint {
                t,
                start: 0,
                histogram,
            });
        } else if word != "_" {
            samples.ts.push(t);
            samples.values.push(word.parse().unwrap());
        }
    }
    samples
}

/// A column as described above.
pub(super) fn column(text: &str) -> Column {
    let mut column = Column::default();
    for (step, word) in text.split_whitespace().enumerate() {
        column.floats.push(ABSENT);
        if let Some(histogram) = histogram(word) {
            column.push_histogram(step, Arc::new(histogram));
        } else if word != "_" {
            column.set_float(step, word.parse().unwrap());
        }
    }
    column
}

/// What stands in a column.
pub(super) fn show(column: &Column) -> String {
    let words = (0..column.len()).map(|step| match (column.float(step), column.histogram(step)) {
        (Some(value), None) => format!("{}", (value * 1e9).round() / 1e9),
        (None, Some(histogram)) => histogram.to_string(),
        (None, None) => "_".to_owned(),
        (Some(_), Some(_)) => "both".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs with a context and appends its notes.
pub(super) fn with_context(
    steps: Steps,
    run: impl FnOnce(&mut KernelContext<'_>) -> String,
) -> String {
    let mut annotations = Annotations::default();
    let args = [Pos { start: 5, end: 6 }; 4];
    let mut context = KernelContext {
        steps,
        metric_name: "m",
        call: Pos::default(),
        args: &args,
        annotations: &mut annotations,
    };
    let mut shown = run(&mut context);
    for note in annotations
        .warnings("")
        .into_iter()
        .chain(annotations.infos(""))
    {
        let note = note.replace("PromQL ", "");
        shown.push_str(" | ");
        shown.push_str(
            note.rsplit_once(" (")
                .map_or(note.as_str(), |(text, _)| text),
        );
    }
    shown
}

/// Checks a function of a range vector at several times (all in seconds).
pub(super) fn check_range(
    kernel: RangeKernel,
    text: &str,
    range: i64,
    (start, end, step): (i64, i64, i64),
    params: &[f64],
    expected: &str,
) {
    let samples = samples(text);
    let steps = Steps::range(start * 1000, end * 1000, step * 1000);
    let mut windows = Windows {
        steps,
        range_ms: range * 1000,
        offset_ms: 0,
        at_ms: None,
        edge: crate::ast::Edge::Open,
        lookback_ms: 0,
        windows: Vec::new(),
    };
    windows.place(&samples);
    let params: Vec<_> = params
        .iter()
        .map(|value| ScalarColumn::Const(*value))
        .collect();
    let input = RangeInput {
        samples: &samples,
        windows: &windows,
        params: &params,
        interrupt: &crate::eval::kernel::Interrupt::never(),
    };
    let shown = with_context(steps, |context| {
        let mut out = Column::absent(steps.count);
        kernel(&input, &mut out, context);
        show(&out)
    });
    assert_eq!(shown, expected, "of {text} over {range} s");
}

/// Checks a function of an instant vector.
pub(super) fn check_element(kernel: ElementKernel, text: &str, params: &[f64], expected: &str) {
    let mut column = column(text);
    let params: Vec<_> = params
        .iter()
        .map(|value| ScalarColumn::Const(*value))
        .collect();
    let steps = Steps {
        start: 0,
        step: 1,
        count: column.len().max(1),
    };
    let shown = with_context(steps, |context| {
        kernel(&mut column, &params, context);
        show(&column)
    });
    assert_eq!(shown, expected, "of {text}");
}
