//! `tidemark bucket inspect`: of what a block consists, by file and column.

use std::io::Write;

use block::sizes::table_layouts;

use super::table::{Table, count, per_sample, time};
use super::{Outcome, View};

pub(super) fn run(view: &View, block: &str, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let place = view.find(block)?;
    let meta = view.meta(&place)?;
    let open = view.open_block(&place, &meta)?;
    let statistics = &meta.statistics;
    let samples = statistics.samples.saturating_add(statistics.histograms);
    let listed = match view.catalogs.current(&place.tenant) {
        Ok(catalog) if catalog.block(block).is_some() => {
            format!("in version {}", catalog.version)
        }
        Ok(catalog) => format!("not in version {}", catalog.version),
        Err(error) => error.to_string(),
    };
    let sources = match meta.sources.is_empty() {
        true => "none".to_owned(),
        false => meta.sources.join(", "),
    };
    let facts = [
        ("block", meta.block_id.clone()),
        ("tenant", meta.tenant.clone()),
        ("catalog", listed),
        (
            "range",
            format!("{} to {}", time(meta.min_time), time(meta.max_time)),
        ),
        (
            "samples from",
            format!(
                "{} to {}",
                time(statistics.first_t),
                time(statistics.last_t)
            ),
        ),
        ("slice", format!("{} s", meta.slice_ms / 1000)),
        ("level", meta.level.to_string()),
        ("sources", sources),
        ("series", count(statistics.series)),
        ("floats", count(statistics.samples)),
        ("histograms", count(statistics.histograms)),
        ("timelines", count(statistics.timelines)),
        ("promoted labels", meta.promoted_labels.join(", ")),
    ];
    for (name, value) in facts {
        writeln!(out, "{name:<16} {value}")?;
    }
    writeln!(out)?;
    let headings = [
        "FILE",
        "COLUMN",
        ">ROWS",
        ">GROUPS",
        "ENCODINGS",
        ">BYTES",
        ">B/SAMPLE",
    ];
    let mut table = Table::new(&headings);
    for file in table_layouts(&open) {
        table.row(vec![
            file.name.clone(),
            String::new(),
            count(file.rows),
            count(file.row_groups as u64),
            String::new(),
            count(file.bytes),
            per_sample(file.bytes, samples),
        ]);
        for column in &file.columns {
            table.row(part(
                &column.name,
                column.encodings.join(" "),
                column.bytes,
                samples,
            ));
        }
        let rest = "(page indexes and footer)";
        table.row(part(rest, String::new(), file.rest, samples));
    }
    table.write(out)?;
    Ok(Outcome::Good)
}

/// A row for a part of a file.
fn part(name: &str, encodings: String, bytes: u64, samples: u64) -> Vec<String> {
    let none = String::new;
    vec![
        none(),
        name.to_owned(),
        none(),
        none(),
        encodings,
        count(bytes),
        per_sample(bytes, samples),
    ]
}
