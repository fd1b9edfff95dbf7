//! Smaller queries out of one, to find the smallest that still shows what is wrong.

use super::generate::Moment;
use super::tree::{At, Expr, Kind, Matching, Place};

/// The resolution of subqueries that name none, in seconds: the interval of rules by default.
const DEFAULT_RESOLUTION: i64 = 60;

/// Queries that are smaller and may be asked alone, the smallest first.
pub fn smaller(expr: &Expr, moment: Moment) -> Vec<Expr> {
    let allowed = |expr: &Expr| {
        let instant = matches!(moment, Moment::Instant(_));
        expr.kind() != Kind::Matrix || instant
    };
    let mut found = Vec::new();
    parts(expr, &mut found);
    found.retain(allowed);
    found.extend(simplified(expr));
    found.retain(|expr| !expr.any(&keeps_name_of_angle));
    found.dedup();
    found
}

/// Whether `atan2` has an operand with a metric name, which the generator avoids.
fn keeps_name_of_angle(expr: &Expr) -> bool {
    let Expr::Binary {
        op: "atan2",
        lhs,
        rhs,
        ..
    } = expr
    else {
        return false;
    };
    let named = |side: &Expr| side.kind() == Kind::Vector && !matches!(side, Expr::Chain(..));
    named(lhs) || named(rhs)
}

/// Everything within it, from the leaves up, each once in a row.
fn parts(expr: &Expr, found: &mut Vec<Expr>) {
    for child in expr.children() {
        parts(child, found);
        found.push(child.clone());
    }
}

/// The same kind of expression, with something left out at one place.
fn simplified(expr: &Expr) -> Vec<Expr> {
    let mut found: Vec<Expr> = without_modifiers(expr);
    found.retain(|other| other != expr);
    let children = expr.children();
    for (index, child) in children.iter().enumerate() {
        let kind = child.kind();
        let mut inner = Vec::new();
        parts(child, &mut inner);
        inner.extend(simplified(child));
        if kind == Kind::Scalar && !matches!(child, Expr::Number(_)) {
            inner.push(Expr::Number(1.0));
        }
        for replacement in inner.into_iter().filter(|other| other.kind() == kind) {
            let mut whole = expr.clone();
            if let Some(slot) = whole.children_mut().into_iter().nth(index) {
                *slot = replacement;
                found.push(whole);
            }
        }
    }
    found
}

fn without_modifiers(expr: &Expr) -> Vec<Expr> {
    match expr.clone() {
        Expr::Select {
            metric,
            matchers,
            range,
            place,
            extension,
        } => {
            let with = |matchers: Vec<String>, place| Expr::Select {
                metric,
                matchers,
                range,
                place,
                extension,
            };
            let mut found = vec![
                with(matchers.clone(), Place { at: None, ..place }),
                with(
                    matchers.clone(),
                    Place {
                        offset: None,
                        ..place
                    },
                ),
            ];
            for index in 0..matchers.len() {
                let mut fewer = matchers.clone();
                fewer.remove(index);
                if metric.is_some() || !fewer.is_empty() {
                    found.push(with(fewer, place));
                }
            }
            found
        }
        Expr::Subquery {
            inner,
            range,
            step,
            place,
        } => [
            Place { at: None, ..place },
            Place {
                offset: None,
                ..place
            },
        ]
        .map(|place| Expr::Subquery {
            inner: inner.clone(),
            range,
            step,
            place,
        })
        .to_vec(),
        Expr::Aggregate {
            op, param, inner, ..
        } => vec![Expr::Aggregate {
            op,
            grouping: None,
            param,
            inner,
        }],
        Expr::Binary {
            op,
            returns_bool,
            lhs,
            rhs,
            ..
        } => vec![Expr::Binary {
            op,
            returns_bool,
            matching: Matching::default(),
            lhs,
            rhs,
        }],
        Expr::Chain(first, mut rest) if rest.len() > 1 => {
            rest.pop();
            vec![Expr::Chain(first, rest)]
        }
        _ => Vec::new(),
    }
}

/// Moments that are part of this one.
pub fn sooner(moment: Moment) -> Vec<Moment> {
    match moment {
        Moment::Instant(_) => Vec::new(),
        Moment::Range(start, end, step) => {
            let mut found = vec![Moment::Range(start, start, step)];
            let last = start + (end - start) / step * step;
            found.push(Moment::Instant(start));
            found.push(Moment::Instant(last));
            let half = start + (end - start) / 2 / step * step;
            found.push(Moment::Range(start, half, step));
            found.push(Moment::Range(half, end, step));
            found.retain(|other| *other != moment);
            found
        }
    }
}

/// The steps of a subquery that is asked for an instant, as queries of their own.
pub fn steps(expr: &Expr, moment: Moment) -> Vec<(Expr, Moment)> {
    let (
        Expr::Subquery {
            inner,
            range,
            step,
            place,
        },
        Moment::Instant(t),
    ) = (expr, moment)
    else {
        return Vec::new();
    };
    let at = match place.at {
        Some(At::Time(time)) => time,
        Some(At::Start | At::End) | None => t,
    };
    let end = at - place.offset.unwrap_or(0);
    let step = step.unwrap_or(DEFAULT_RESOLUTION);
    let last = end / step * step;
    let times = std::iter::successors(Some(last), |time| Some(time - step));
    let times = times.take_while(|time| *time > end - range);
    times
        .map(|time| ((**inner).clone(), Moment::Instant(time)))
        .collect()
}
