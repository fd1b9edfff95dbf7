//! What a head was told before a restart, told again from the log's records.

use std::sync::Arc;

use model::exemplar::Exemplar;
use model::time::TimestampMs;
use model::write::LabelSource;

use super::TenantHead;
use super::append::make_series;
use super::series::{AgeLimits, Appended};
use crate::wal::record::{Record, RecordError};

/// Label pairs of a log record.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl LabelSource for Pairs<'_> {
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.0 {
            each(name.as_bytes(), value.as_bytes());
        }
    }
}

impl TenantHead {
    /// Makes the series that a record defines, under the refs they have there. A series that is
    /// there already gets the ref as a further name.
    pub(crate) fn define_series(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let mut map = self.series.write();
        let mut index = self.index.write();
        let mut hint = Vec::new();
        record.each_series(|series_ref, fingerprint, labels| {
            if let Some(known) = map.by_fingerprint(fingerprint) {
                let known = Arc::clone(known);
                map.set_ref(series_ref, known);
                return;
            }
            let made = make_series(
                &mut index,
                fingerprint,
                &Pairs(labels),
                series_ref,
                &mut hint,
            );
            made.set_defined();
            map.insert(made);
        })
    }

    /// Appends the samples and histograms of a record, however old they are: whether they were too
    /// old was judged when they came, by what was the newest sample and the limit then. What was
    /// refused for its age may show up, what was acknowledged must.
    pub(crate) fn replay_samples(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let map = self.series.read();
        let (mut first, mut last) = (TimestampMs::MAX, TimestampMs::MIN);
        let mut note = |t: TimestampMs, appended: Appended| {
            if appended == Appended::Written {
                first = first.min(t);
                last = last.max(t);
            }
        };
        let floats = record.each_sample(|series_ref, sample| {
            if let Some(series) = map.by_ref(series_ref) {
                let mut state = series.state.lock();
                note(sample.t, state.append(sample, AgeLimits::NONE, &self.files));
            }
        });
        let histograms = record.each_histogram(|series_ref, sample| {
            if let Some(series) = map.by_ref(series_ref) {
                let mut state = series.state.lock();
                note(
                    sample.t,
                    state.append_histogram(&sample, AgeLimits::NONE, &self.files),
                );
            }
        });
        if first <= last {
            self.note_times(first, last);
        }
        floats.and(histograms)
    }

    /// Keeps an exemplar of a record.
    pub(crate) fn replay_exemplar(&self, series_ref: u32, exemplar: &Exemplar, most: usize) {
        let series = self.series.read().by_ref(series_ref).map(Arc::clone);
        if let Some(series) = series {
            self.exemplars
                .lock()
                .push(series.series_ref, exemplar, most);
        }
    }
}
