//! Sorting that stops with the query: a million label sets take seconds.

use std::cmp::Ordering;

use super::EvalError;
use super::budget::Budget;

/// Items between two looks at whether to go on.
const RUN: usize = 4096;

/// Sorts, keeping equals in their order.
pub(super) fn sort<T>(
    budget: &Budget<'_>,
    items: &mut [T],
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<(), EvalError> {
    if items.len() <= RUN {
        items.sort_by(compare);
        return Ok(());
    }
    let in_order = |pair: &[T]| compare(&pair[0], &pair[1]) != Ordering::Greater;
    let mut at = 0;
    while at + 1 < items.len() && in_order(&items[at..at + 2]) {
        at += 1;
        if at.is_multiple_of(RUN) {
            budget.stopped()?;
        }
    }
    if at + 1 == items.len() {
        return Ok(());
    }
    let mut held = budget.hold();
    held.charge(2 * size_of::<usize>() * items.len())?;
    let order = ordered(budget, items, compare)?;
    arrange(items, order);
    Ok(())
}

/// Which item is to come first, second and so on: runs are sorted, then merged.
fn ordered<T>(
    budget: &Budget<'_>,
    items: &[T],
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<usize>, EvalError> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    for run in order.chunks_mut(RUN) {
        run.sort_by(|a, b| compare(&items[*a], &items[*b]));
        budget.stopped()?;
    }
    let mut merged = Vec::with_capacity(order.len());
    let mut width = RUN;
    while width < order.len() {
        merged.clear();
        for pair in order.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            loop {
                let next = match (left.peek(), right.peek()) {
                    (Some(l), Some(r)) if compare(&items[**r], &items[**l]).is_lt() => right.next(),
                    (Some(_), _) => left.next(),
                    (None, _) => right.next(),
                };
                let Some(next) = next else { break };
                merged.push(*next);
                if merged.len().is_multiple_of(RUN) {
                    budget.stopped()?;
                }
            }
        }
        std::mem::swap(&mut order, &mut merged);
        width *= 2;
    }
    Ok(order)
}

/// Puts the item at `order[i]` to `i`, for each.
fn arrange<T>(items: &mut [T], mut order: Vec<usize>) {
    for start in 0..order.len() {
        let mut at = start;
        loop {
            let from = order[at];
            order[at] = at;
            if from == start {
                break;
            }
            items.swap(at, from);
            at = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::EvalLimits;
    use model::time::ManualClock;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn sorts_as_the_library_does(keys in prop::collection::vec(0u16..500, 0..20_000)) {
            let (limits, clock) = (EvalLimits::default(), ManualClock::new(0));
            let budget = Budget::new(&limits, &clock);
            let mut items: Vec<(u16, usize)> = keys.iter().copied().zip(0..).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            prop_assert!(sort(&budget, &mut items, |a, b| a.0.cmp(&b.0)).is_ok());
            prop_assert_eq!(items, expected);
        }
    }

    #[test]
    fn stops_with_the_query() {
        let (limits, clock) = (EvalLimits::default(), ManualClock::new(0));
        let budget = Budget::new(&limits, &clock);
        let compared = std::cell::Cell::new(0usize);
        let mut items: Vec<u32> = (0..1_000_000).rev().collect();
        let sorted = sort(&budget, &mut items, |a, b| {
            compared.set(compared.get() + 1);
            if compared.get() == 100_000 {
                limits.cancel.cancel();
            }
            a.cmp(b)
        });
        assert_eq!(sorted, Err(EvalError::Canceled));
        assert!(compared.get() < 100_000 + 20 * RUN, "{}", compared.get());
    }
}
