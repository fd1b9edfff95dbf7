//! The order of `sort_by_label`: runs of digits compare as numbers, so that `cpu10` follows `cpu2`.

use std::cmp::Ordering;

/// Compares two label values, runs of digits as numbers and the rest as text.
#[must_use]
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a.as_bytes(), b.as_bytes());
    while let (Some(a_first), Some(b_first)) = (a_rest.first(), b_rest.first()) {
        let (a_run, a_after) = split_run(a_rest);
        let (b_run, b_after) = split_run(b_rest);
        let order = if a_first.is_ascii_digit() && b_first.is_ascii_digit() {
            compare_numbers(a_run, b_run)
        } else {
            a_run.cmp(b_run)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a_rest, b_rest) = (a_after, b_after);
    }
    // What has more to come is later; numbers that differ in leading zeros only, by text.
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

/// Cuts off a run of digits, or of anything else.
fn split_run(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.first().is_some_and(u8::is_ascii_digit);
    let end = text.iter().position(|byte| byte.is_ascii_digit() != digits);
    text.split_at(end.unwrap_or(text.len()))
}

/// Compares runs of digits of any length.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |run: &[u8]| {
        run.iter()
            .position(|digit| *digit != b'0')
            .unwrap_or(run.len())
    };
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_text_compare_as_numbers() {
        fn check(ascending: &[&str]) {
            for pair in ascending.windows(2) {
                assert_eq!(natural_order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
                assert_eq!(
                    natural_order(pair[1], pair[0]),
                    Ordering::Greater,
                    "{pair:?}"
                );
            }
        }
        check(&["", "0", "1", "2", "10", "11", "100"]);
        check(&["4m5", "4m600", "4m1000"]);
        check(&["1.2.3", "1.11.3", "1.111.3"]);
        check(&["a", "a1", "a01b", "a1c", "b"]);
        check(&["18446744073709551616", "28446744073709551616"]);
        assert_eq!(natural_order("a7", "a7"), Ordering::Equal);
    }
}
