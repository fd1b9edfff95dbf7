//! The values of one row: constant, scaled integers or doubles, bit for bit.
//!
//! A value is `(vi * mult) / 10^exp`, computed in f64. The writer takes integers only where that
//! gives back the very bits of every value. A stale marker is a null.

use model::sample::{is_stale, stale_nan};

/// All values have the same bits, or all are stale markers.
pub(crate) const CONSTANT: i32 = 0;
/// Integers, scaled.
pub(crate) const INTEGERS: i32 = 1;
/// Doubles as they are: negative zero, infinities, NaN, and what needs all 53 bits.
pub(crate) const DOUBLES: i32 = 2;

/// The largest power of ten by which integers are divided.
pub(crate) const MAX_EXP: usize = 9;
const POWERS: [f64; MAX_EXP + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Integers below 2^53 are f64s without loss.
const INTEGER_BOUND: f64 = 9_007_199_254_740_992.0;

/// One row's values as they are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Encoded<'a> {
    pub(crate) kind: i32,
    pub(crate) exp: i32,
    pub(crate) mult: i64,
    /// For a constant; `None`: all are stale markers.
    pub(crate) constant: Option<f64>,
    /// For integers: those that are no stale markers.
    pub(crate) integers: &'a [i64],
    /// For doubles: those that are no stale markers.
    pub(crate) doubles: &'a [f64],
    /// Which values are no stale markers; `None`: all.
    pub(crate) present: Option<&'a [bool]>,
}

/// Encodes rows, one after the other, in memory that it keeps.
#[derive(Debug, Default)]
pub(crate) struct ValueEncoder {
    integers: Vec<i64>,
    doubles: Vec<f64>,
    present: Vec<bool>,
}

impl ValueEncoder {
    /// Encodes the values of a row.
    pub(crate) fn encode<'a>(&'a mut self, values: &'a [f64]) -> Encoded<'a> {
        let first = values.first().copied().unwrap_or_else(stale_nan).to_bits();
        if values.iter().all(|value| value.to_bits() == first) {
            let value = f64::from_bits(first);
            return Encoded {
                kind: CONSTANT,
                constant: (!is_stale(value)).then_some(value),
                ..Encoded::default()
            };
        }
        let (mut doubles, mut present) = (values, None);
        if values.iter().any(|value| is_stale(*value)) {
            self.present.clear();
            self.present
                .extend(values.iter().map(|value| !is_stale(*value)));
            self.doubles.clear();
            let live = values.iter().filter(|value| !is_stale(**value));
            self.doubles.extend(live);
            (doubles, present) = (self.doubles.as_slice(), Some(self.present.as_slice()));
        }
        let Some(exp) = scaled(doubles, &mut self.integers) else {
            return Encoded {
                kind: DOUBLES,
                doubles,
                present,
                ..Encoded::default()
            };
        };
        let mult = divisor(&self.integers);
        if mult > 1 {
            for integer in &mut self.integers {
                *integer /= mult;
            }
        }
        Encoded {
            kind: INTEGERS,
            exp: exp as i32,
            mult,
            integers: &self.integers,
            present,
            ..Encoded::default()
        }
    }
}

/// The values times a power of ten, where that loses nothing; which power.
fn scaled(values: &[f64], integers: &mut Vec<i64>) -> Option<usize> {
    let mut exp = 0;
    'powers: loop {
        integers.clear();
        for value in values {
            if let Some(integer) = scale(*value, exp) {
                integers.push(integer);
                continue;
            }
            // The next power that this value allows; all others are tried again with it.
            exp = (exp + 1..=MAX_EXP).find(|exp| scale(*value, *exp).is_some())?;
            continue 'powers;
        }
        return Some(exp);
    }
}

/// The integer that gives a value its bits back, where there is one.
#[inline]
fn scale(value: f64, exp: usize) -> Option<i64> {
    let power = POWERS[exp];
    let wanted = value * power;
    // A cast cuts off, so that it rounds with half added. Where that goes wrong, next to a half or
    // above 2^52, the check fails, and the row is one of doubles.
    let integer = match exp {
        0 => value as i64,
        _ => (wanted + 0.5_f64.copysign(wanted)) as i64,
    };
    let exact = (integer as f64 / power).to_bits() == value.to_bits();
    (exact && wanted.abs() < INTEGER_BOUND).then_some(integer)
}

/// The greatest number that divides all.
fn divisor(integers: &[i64]) -> i64 {
    let mut divisor = 0_u64;
    for integer in integers {
        let (mut a, mut b) = (integer.unsigned_abs(), divisor);
        if b != 0 && a % b == 0 {
            continue;
        }
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1) as i64
}

/// Appends the values of integers; those of stale markers are to be put between by [`spread`].
#[inline]
pub(crate) fn decode_integers(
    integers: &[i64],
    exp: i32,
    mult: i64,
    values: &mut Vec<f64>,
) -> bool {
    let Some(power) = usize::try_from(exp).ok().and_then(|exp| POWERS.get(exp)) else {
        return false;
    };
    if exp == 0 {
        values.extend(integers.iter().map(|i| i.wrapping_mul(mult) as f64));
    } else {
        values.extend(integers.iter().map(|i| i.wrapping_mul(mult) as f64 / power));
    }
    true
}

/// Moves the values from `start` on apart, with stale markers where `present` says that none is.
pub(crate) fn spread(
    values: &mut Vec<f64>,
    start: usize,
    present: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator,
) {
    let mut from = values.len();
    let mut to = start + present.len();
    values.resize(to, stale_nan());
    for present in present.rev() {
        to -= 1;
        if present && from > start {
            from -= 1;
            values[to] = values[from];
        } else {
            values[to] = stale_nan();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(row: &Encoded<'_>, count: usize) -> Vec<f64> {
        let mut values = Vec::new();
        match row.kind {
            CONSTANT => values.resize(count, row.constant.unwrap_or_else(stale_nan)),
            INTEGERS => assert!(decode_integers(
                row.integers,
                row.exp,
                row.mult,
                &mut values
            )),
            _ => values.extend_from_slice(row.doubles),
        }
        if let Some(present) = row.present {
            spread(&mut values, 0, present.iter().copied());
        }
        values
    }

    fn check(values: &[f64], kind: i32, exp: i32, mult: i64) {
        let mut encoder = ValueEncoder::default();
        let row = encoder.encode(values);
        assert_eq!(
            (row.kind, row.exp, row.mult),
            (kind, exp, mult),
            "{values:?}"
        );
    }

    #[test]
    fn takes_the_smallest_form_that_loses_nothing() {
        check(&[1.5, 1.5], CONSTANT, 0, 0);
        check(&[-0.0, -0.0], CONSTANT, 0, 0);
        check(&[stale_nan(), stale_nan()], CONSTANT, 0, 0);
        check(&[1.0, 2.0], INTEGERS, 0, 1);
        check(&[4096.0, 8192.0, 0.0], INTEGERS, 0, 4096);
        check(&[0.1, 0.25, 3.0], INTEGERS, 2, 5);
        check(&[1.0, stale_nan()], INTEGERS, 0, 1);
        check(&[1.0, -0.0], DOUBLES, 0, 0);
        check(&[1.0, f64::INFINITY], DOUBLES, 0, 0);
        check(&[1.0, f64::NAN], DOUBLES, 0, 0);
        check(&[1.0, std::f64::consts::PI], DOUBLES, 0, 0);
        check(&[0.0, 9_007_199_254_740_992.0], DOUBLES, 0, 0);
        check(
            &[0.0, 9_007_199_254_740_991.0],
            INTEGERS,
            0,
            9_007_199_254_740_991,
        );
    }

    proptest! {
        #[test]
        fn gives_back_every_bit(
            values in prop::collection::vec(
                prop_oneof![
                    any::<u64>().prop_map(f64::from_bits),
                    (-1000_i64..1000, 0..11_i32).prop_map(|(i, e)| i as f64 / 10_f64.powi(e)),
                    (0..1_u64 << 54).prop_map(|i| i as f64),
                    Just(stale_nan()), Just(0.0), Just(-0.0), Just(f64::INFINITY),
                ],
                1..40,
            ),
            only_short in any::<bool>(),
        ) {
            let mut values = values;
            if only_short {
                values.retain(|v| is_stale(*v) || (v.fract() == 0.0 && v.abs() < 1e15));
                prop_assume!(!values.is_empty());
            }
            let mut encoder = ValueEncoder::default();
            let found = decode(&encoder.encode(&values), values.len());
            let bits = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found), bits(&values));
        }
    }
}
