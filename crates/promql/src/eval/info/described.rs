//! Info series by the target they describe, and which of them is the newest at each step.

use std::sync::Arc;

use model::labels::Labels;

use super::target_of;
use crate::eval::EvalError;
use crate::eval::budget::Held;
use crate::eval::collect::Kept;
use crate::eval::column::{ABSENT, Column, Steps, is_absent};
use crate::eval::tag::{HashedMap, Tag};

/// No info series.
pub(super) const NONE: u32 = u32::MAX;

/// The info series of one name and one target.
pub(super) struct Newest {
    name: Arc<str>,
    /// For each step the number of the series with the newest sample, or [`NONE`].
    pub chosen: Vec<u32>,
    /// When that sample was taken, in seconds.
    times: Vec<f64>,
}

/// All info series.
pub(super) struct Described {
    series: Vec<Labels>,
    by_target: HashedMap<Vec<Newest>>,
    /// At which steps there is anything to describe.
    needed: Vec<bool>,
}

impl Described {
    /// None yet, for these series.
    pub(super) fn of(base: &[Kept], steps: Steps) -> Self {
        let mut needed = vec![false; steps.count];
        for kept in base {
            for (needed, value) in needed.iter_mut().zip(&kept.column.floats) {
                *needed |= !is_absent(*value);
            }
            for (step, _) in &kept.column.histograms {
                needed[*step as usize] = true;
            }
        }
        Self {
            series: Vec::new(),
            by_target: HashedMap::default(),
            needed,
        }
    }

    /// Adds an info series; its column has the times of its samples.
    ///
    /// # Errors
    /// Where another one of its name and target has a sample of the same time, so that none is the
    /// newest; or where memory is short.
    pub(super) fn add(
        &mut self,
        labels: Labels,
        times: &Column,
        held: &mut Held<'_>,
    ) -> Result<(), EvalError> {
        let tag = Tag::of(&labels);
        let all = self.by_target.entry(target_of(&tag)).or_default();
        let name = tag.metric_name();
        let known = all.iter().position(|newest| *newest.name == *name);
        let newest = match known {
            Some(at) => &mut all[at],
            None => {
                let steps = self.needed.len();
                held.charge(size_of::<Newest>() + steps * (size_of::<u32>() + size_of::<f64>()))?;
                all.push(Newest {
                    name: Arc::from(name),
                    chosen: vec![NONE; steps],
                    times: vec![ABSENT; steps],
                });
                let last = all.len() - 1;
                &mut all[last]
            }
        };
        let number = u32::try_from(self.series.len()).unwrap_or(NONE);
        for (step, time) in times.floats.iter().enumerate() {
            if is_absent(*time) || !self.needed[step] {
                continue;
            }
            let before = newest.times[step];
            if !is_absent(before) && before == *time {
                let other = &self.series[newest.chosen[step] as usize];
                let ms = (*time * 1000.0).round();
                return Err(EvalError::Execution(format!(
                    "found duplicate series for info metric: existing {other} @ {ms}, new \
                     {labels} @ {ms}"
                )));
            }
            if is_absent(before) || before < *time {
                newest.times[step] = *time;
                newest.chosen[step] = number;
            }
        }
        held.charge(labels.heap_bytes() + size_of::<Labels>())?;
        self.series.push(labels);
        Ok(())
    }

    /// The info series of a target, by name.
    pub(super) fn of_target(&self, target: u128) -> &[Newest] {
        self.by_target.get(&target).map_or(&[], Vec::as_slice)
    }

    /// The labels of an info series.
    pub(super) fn series(&self, number: u32) -> Option<&Labels> {
        self.series.get(number as usize)
    }
}
