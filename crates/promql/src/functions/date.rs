//! Parts of dates, in UTC, of seconds since 1970.

use super::math::map;
use crate::eval::column::{Column, ScalarColumn};
use crate::eval::kernel::KernelContext;

/// `minute(v)`: 0 to 59.
pub(super) fn minute(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| (seconds(v).rem_euclid(3600) / 60) as f64);
}

/// `hour(v)`: 0 to 23.
pub(super) fn hour(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| (seconds(v).rem_euclid(DAY) / 3600) as f64);
}

/// `day_of_week(v)`: 0 to 6, 0 is Sunday.
pub(super) fn day_of_week(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    // 1970 began on a Thursday.
    map(column, |v| {
        (seconds(v).div_euclid(DAY) + 4).rem_euclid(7) as f64
    });
}

/// `day_of_month(v)`: 1 to 31.
pub(super) fn day_of_month(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| Date::of(v).day as f64);
}

/// `day_of_year(v)`: 1 to 366.
pub(super) fn day_of_year(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| {
        let date = Date::of(v);
        let before: i128 = (1..date.month).map(|month| days_in(date.year, month)).sum();
        (before + date.day) as f64
    });
}

/// `days_in_month(v)`: 28 to 31.
pub(super) fn days_in_month(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| {
        let date = Date::of(v);
        days_in(date.year, date.month) as f64
    });
}

/// `month(v)`: 1 to 12.
pub(super) fn month(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| Date::of(v).month as f64);
}

/// `year(v)`.
pub(super) fn year(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| Date::of(v).year as f64);
}

/// Seconds of a day.
const DAY: i128 = 86_400;

/// How long before 1970 the earliest second lies that dates are counted from, as elsewhere; what
/// lies before it counts from the far end.
const EPOCH_OFFSET: u64 = 9_223_372_028_741_760_000;

/// Whole seconds since 1970. What is no such number becomes the lowest one, as 64-bit x86 has it.
fn seconds(value: f64) -> i128 {
    let fits = value > -9.3e18 && value < 9.223_372_036_854_775e18;
    let seconds = if fits { value as i64 } else { i64::MIN };
    i128::from((seconds as u64).wrapping_add(EPOCH_OFFSET)) - i128::from(EPOCH_OFFSET)
}

/// A time as a message shows it: RFC 3339 in UTC, cut to seconds towards 1970.
pub(crate) fn seconds_utc(t: model::time::TimestampMs) -> String {
    let second = t / 1000;
    let date = Date::of(second as f64);
    let (hour, minute) = (
        second.rem_euclid(86_400) / 3600,
        second.rem_euclid(3600) / 60,
    );
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{:02}Z",
        date.year,
        date.month,
        date.day,
        second.rem_euclid(60)
    )
}

/// A day of the proleptic Gregorian calendar.
struct Date {
    year: i128,
    month: i128,
    day: i128,
}

impl Date {
    fn of(value: f64) -> Self {
        // Years that begin in March end with the leap day; 400 of them are 146,097 days.
        let days = seconds(value).div_euclid(DAY) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Five months from March on always have 153 days.
        let from_march = (5 * day + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: era * 400 + year + i128::from(month <= 2),
            month,
            day: day - (153 * from_march + 2) / 5 + 1,
        }
    }
}

fn days_in(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::kernel::ElementKernel;
    use crate::functions::testing::check_element;

    #[test]
    fn parts_of_dates() {
        fn check(kernel: ElementKernel, at: &str, expected: &str) {
            check_element(kernel, at, &[], expected);
        }
        check(
            year,
            "0 1136239445 1230767999 1230768000 -1",
            "1970 2006 2008 2009 1969",
        );
        check(month, "1456790399 1456790400 0", "2 3 1");
        check(
            day_of_month,
            "1456790399 1456790400 1136239445 -1",
            "29 1 2 31",
        );
        check(day_of_week, "0 1136239445 -86400", "4 1 3");
        check(day_of_year, "1483191420 1672493820 0", "366 365 1");
        check(days_in_month, "1454284800 1485907200", "29 28");
        check(hour, "1136239445 -1", "22 23");
        check(minute, "1136239445 59.9", "4 0");
        check(year, "NaN", "292277026596");
    }

    #[test]
    fn times_in_messages() {
        assert_eq!(seconds_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(seconds_utc(1_136_239_445_678), "2006-01-02T22:04:05Z");
        assert_eq!(seconds_utc(-1_500), "1969-12-31T23:59:59Z");
    }
}
