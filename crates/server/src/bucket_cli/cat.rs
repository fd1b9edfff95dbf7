//! `tidemark bucket cat`: the samples of series in a block, as text.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use model::go_float;
use model::sample::is_stale;
use model::select::{LabelsNeeded, SelectRequest, SeriesSamples, Skipped};
use model::time::TimeRange;
use promql::parse::{ParseOptions, parse_selector};

use super::{Outcome, View};

pub(super) fn run(
    view: &View,
    block: &str,
    selector: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let matchers = match selector {
        Some(text) => parse_selector(text, &ParseOptions::default()).with_context(|| {
            format!("{text:?} is no selector; write one such as 'up{{job=\"node\"}}'")
        })?,
        None => Vec::new(),
    };
    let place = view.find(block)?;
    let meta = view.meta(&place)?;
    let open = Arc::new(view.open_block(&place, &meta)?);
    let mut set = open.select(&SelectRequest {
        matchers,
        range: TimeRange::all(),
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    })?;
    let mut samples = SeriesSamples::default();
    while let Some(labels) = set.next(&mut samples)? {
        writeln!(out, "{labels}")?;
        write_samples(&samples, out)?;
    }
    Ok(Outcome::Good)
}

/// Writes a line for each sample, in the order of time.
fn write_samples(samples: &SeriesSamples, out: &mut dyn Write) -> std::io::Result<()> {
    let mut histograms = samples.histograms.iter().peekable();
    let mut floats = samples.ts.iter().zip(&samples.values).peekable();
    loop {
        let float_first = match (floats.peek(), histograms.peek()) {
            (Some((t, _)), Some(point)) => **t < point.t,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return Ok(()),
        };
        if float_first && let Some((t, value)) = floats.next() {
            let time = query::time::format_rfc3339(*t);
            match is_stale(*value) {
                true => writeln!(out, "  {time} stale")?,
                false => writeln!(out, "  {time} {}", go_float::General(*value))?,
            }
        } else if let Some(point) = histograms.next() {
            let time = query::time::format_rfc3339(point.t);
            match is_stale(point.histogram.sum) {
                true => writeln!(out, "  {time} stale")?,
                false => writeln!(out, "  {time} {}", point.histogram)?,
            }
        }
    }
}
