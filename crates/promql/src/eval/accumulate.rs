//! Accumulators: one group of an aggregation over all steps.

use std::cell::RefCell;
use std::sync::Arc;

use model::histogram::{
    Combined, CompensatedFloat, CompensatedHistogram, FloatHistogram, IncompatibleSchemas,
    ResetHint,
};

use super::budget::Held;
use super::column::{Column, histogram_bytes, is_absent};
use super::{EvalError, made};
use crate::annotations::{Annotations, Note, Pos};
use crate::ast::AggregateOp;

/// Where a fold says what is odd, and what it took.
pub(super) struct Fold<'a, 'b> {
    /// Takes notes.
    pub annotations: &'a RefCell<Annotations>,
    /// Where the aggregated expression stands.
    pub pos: Pos,
    /// What groups take.
    pub held: &'a mut Held<'b>,
}

impl Fold<'_, '_> {
    fn note(&self, note: &Note<'_>) {
        self.annotations.borrow_mut().add(self.pos, note);
    }
}

/// The state of one group.
pub(super) struct Accumulator {
    op: AggregateOp,
    metric: String,
    /// One per step.
    cells: Vec<Cell>,
    /// Sums of histograms, one per step; empty as long as there is none.
    histograms: Vec<HistogramCell>,
}

/// The floats of one step.
#[derive(Clone, Copy)]
struct Cell {
    /// Sum, extreme, mean or count, as the operator needs it.
    value: CompensatedFloat,
    /// A second number: the sum of squared differences, or a mean where a sum overflowed.
    second: f64,
    /// Floats so far.
    count: u32,
    /// Whether `value` is a mean.
    is_mean: bool,
}

/// The histograms of one step.
#[derive(Default)]
struct HistogramCell {
    sum: Option<Box<CompensatedHistogram>>,
    count: u32,
    /// Whether `sum` is a mean, as the sum overflowed.
    is_mean: bool,
    /// Whether exponential and custom buckets met; what comes then is not looked at any more.
    incompatible: bool,
    /// Whether there were floats by then.
    incompatible_with_floats: bool,
    /// Whether a counter that was reset, and one that was not, is among them.
    hints: (bool, bool),
}

impl Accumulator {
    pub(super) fn new(op: AggregateOp, steps: usize, metric: &str) -> Self {
        // Minus zero is what changes nothing: the sum of minus zeros is one.
        let value = CompensatedFloat {
            sum: -0.0,
            lost: 0.0,
        };
        let cell = Cell {
            value,
            second: 0.0,
            count: 0,
            is_mean: false,
        };
        Self {
            op,
            metric: metric.to_owned(),
            cells: vec![cell; steps],
            histograms: Vec::new(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>() + self.metric.len()
    }

    /// Folds one series in.
    pub(super) fn add(
        &mut self,
        column: &Column,
        fold: &mut Fold<'_, '_>,
    ) -> Result<(), EvalError> {
        let floats = || self.cells.len();
        debug_assert_eq!(floats(), column.len());
        match self.op {
            AggregateOp::Sum => self.each_float(column, |cell, value| cell.value.add(value)),
            AggregateOp::Avg => self.each_float(column, Cell::add_to_mean),
            AggregateOp::Min => self.each_float(column, |cell, value| {
                let best = cell.value.sum;
                if cell.count == 0 || value < best || best.is_nan() {
                    cell.value.sum = value;
                }
            }),
            AggregateOp::Max => self.each_float(column, |cell, value| {
                let best = cell.value.sum;
                if cell.count == 0 || value > best || best.is_nan() {
                    cell.value.sum = value;
                }
            }),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                self.each_float(column, Cell::add_to_variance);
            }
            _ => self.each_float(column, |_, _| {}),
        }
        if column.histograms.is_empty() {
            return Ok(());
        }
        match self.op {
            AggregateOp::Sum | AggregateOp::Avg => self.add_histograms(column, fold)?,
            AggregateOp::Count | AggregateOp::Group => {
                for (step, _) in &column.histograms {
                    self.cells[*step as usize].count += 1;
                }
            }
            op => fold.note(&Note::HistogramIgnoredInAggregation(op.name())),
        }
        Ok(())
    }

    #[inline]
    fn each_float(&mut self, column: &Column, add: impl Fn(&mut Cell, f64)) {
        for (cell, value) in self.cells.iter_mut().zip(&column.floats) {
            if !is_absent(*value) {
                add(cell, *value);
                cell.count += 1;
            }
        }
    }

    fn add_histograms(
        &mut self,
        column: &Column,
        fold: &mut Fold<'_, '_>,
    ) -> Result<(), EvalError> {
        if self.histograms.is_empty() {
            self.histograms
                .resize_with(self.cells.len(), HistogramCell::default);
            let bytes = self.cells.len() * size_of::<HistogramCell>();
            fold.held.charge(bytes)?;
        }
        for (made, (step, histogram)) in column.histograms.iter().enumerate() {
            made::check(fold.held.budget(), made)?;
            let cell = &mut self.histograms[*step as usize];
            if cell.sum.is_none() && self.cells[*step as usize].count > 0 {
                // Behind a float it only spoils the result.
                cell.count += 1;
                continue;
            }
            if cell.sum.is_none() {
                fold.held.charge(2 * histogram_bytes(histogram))?;
            }
            let floats = self.cells[*step as usize].count > 0;
            let was_compatible = !cell.incompatible;
            cell.add(histogram, self.op == AggregateOp::Avg, &self.metric, fold);
            cell.incompatible_with_floats |= floats && was_compatible && cell.incompatible;
        }
        Ok(())
    }

    /// The value of the group at each step.
    pub(super) fn finish(self, fold: &Fold<'_, '_>) -> Column {
        let mut column = Column::absent(self.cells.len());
        let mut histograms = self.histograms;
        for (step, cell) in self.cells.iter().enumerate() {
            let histogram = histograms.get_mut(step).filter(|cell| cell.count > 0);
            match (cell.count > 0, histogram) {
                (false, None) => {}
                (true, None) => column.set_float(step, cell.finish(self.op)),
                (true, Some(cell)) if cell.incompatible && !cell.incompatible_with_floats => {}
                (true, Some(_)) => fold.note(&Note::MixedFloatsHistogramsAggregation),
                (false, Some(histogram)) => {
                    if let Some(total) = histogram.finish(self.op == AggregateOp::Avg) {
                        if histogram.hints == (true, true) {
                            fold.note(&Note::CounterResetCollision("aggregation"));
                        }
                        column.push_histogram(step, Arc::new(total));
                    }
                }
            }
        }
        column
    }
}

impl Cell {
    /// A mean is a sum until that overflows; then it is kept as a mean.
    fn add_to_mean(&mut self, value: f64) {
        let count = f64::from(self.count) + 1.0;
        if !self.is_mean {
            let mut next = self.value;
            next.add(value);
            if self.count == 0 || !next.sum.is_infinite() {
                self.value = next;
                return;
            }
            self.is_mean = true;
            self.value.sum /= count - 1.0;
            self.value.lost /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        self.value.sum *= share;
        self.value.lost *= share;
        self.value.add(value / count);
    }

    /// Welford's method.
    fn add_to_variance(&mut self, value: f64) {
        let count = f64::from(self.count) + 1.0;
        if self.count == 0 {
            self.value.sum = value;
            self.second = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.value.sum;
        self.value.sum += delta / count;
        self.second += delta * (value - self.value.sum);
    }

    fn finish(&self, op: AggregateOp) -> f64 {
        let count = f64::from(self.count);
        match op {
            AggregateOp::Sum => self.value.sum + self.value.lost,
            AggregateOp::Avg if self.is_mean => self.value.sum + self.value.lost,
            AggregateOp::Avg => self.value.sum / count + self.value.lost / count,
            AggregateOp::Min | AggregateOp::Max => self.value.sum,
            AggregateOp::Count => count,
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => self.second / count,
            AggregateOp::Stddev => (self.second / count).sqrt(),
            _ => f64::NAN,
        }
    }
}

impl HistogramCell {
    fn add(&mut self, histogram: &FloatHistogram, mean: bool, metric: &str, fold: &Fold<'_, '_>) {
        self.count += 1;
        if self.incompatible {
            return;
        }
        match histogram.reset_hint {
            ResetHint::Reset => self.hints.0 = true,
            ResetHint::NotReset => self.hints.1 = true,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        let Some(sum) = &mut self.sum else {
            self.sum = Some(Box::new(CompensatedHistogram::new(histogram.clone())));
            return;
        };
        let count = f64::from(self.count);
        let added = if self.is_mean {
            add_to_mean(sum, histogram, count)
        } else {
            let before = mean.then(|| sum.clone());
            let added = sum.add(histogram);
            match before {
                Some(mut before) if sum.has_overflow() => {
                    before.divide(count - 1.0);
                    *sum = before;
                    self.is_mean = true;
                    add_to_mean(sum, histogram, count)
                }
                _ => added,
            }
        };
        match added {
            Err(_) => {
                self.incompatible = true;
                self.sum = None;
                fold.note(&Note::MixedExponentialCustom(metric));
            }
            Ok(combined) => {
                if combined.bounds_reconciled {
                    fold.note(&Note::CustomBucketsReconciled("aggregation"));
                }
            }
        }
    }

    fn finish(&mut self, mean: bool) -> Option<FloatHistogram> {
        let mut sum = self.sum.take()?;
        if mean && !self.is_mean {
            sum.divide(f64::from(self.count));
        }
        let mut total = sum.total();
        total.compact();
        Some(total)
    }
}

fn add_to_mean(
    mean: &mut CompensatedHistogram,
    histogram: &FloatHistogram,
    count: f64,
) -> Result<Combined, IncompatibleSchemas> {
    let mut part = histogram.clone();
    part.divide(count);
    mean.scale((count - 1.0) / count);
    mean.add(&part)
}
