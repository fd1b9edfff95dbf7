//! Queries that are refused: their parts are in order, and do not go together.

use super::generate::{Generator, Scope};
use super::tree::{Expr, Kind, Matching, Place};

impl Generator {
    /// A query that no engine takes.
    pub(super) fn wrong(&mut self, scope: Scope) -> Expr {
        let vector = self.vector(scope.down()).expr;
        let number = self.number();
        let text = Expr::Text("job".to_owned());
        let range = self
            .matrix(Scope {
                subqueries: 0,
                ..scope
            })
            .expr;
        let call = |name, args| Expr::Call(name, Kind::Vector, args);
        let aggregate = |op, inner: Expr| Expr::Aggregate {
            op,
            grouping: None,
            param: None,
            inner: Box::new(inner),
        };
        let binary = |op, returns_bool, lhs: Expr, rhs: Expr| Expr::Binary {
            op,
            returns_bool,
            matching: Matching::default(),
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
        };
        match self.random.below(22) {
            0 => call("rate", vec![vector]),
            1 => call("abs", vec![range]),
            2 => call("ceil", vec![number]),
            3 => call("no_such_function", vec![vector]),
            4 => aggregate("topk", vector),
            5 => aggregate("sum", range),
            6 => aggregate("max", number),
            7 => binary("and", false, number, vector),
            8 => binary("or", false, vector, Expr::Number(1.0)),
            9 => binary("==", false, number, Expr::Number(1.0)),
            10 => binary("+", true, vector, number),
            11 => binary("*", false, text, vector),
            12 => binary("-", false, range, number),
            13 => Expr::Negate(Box::new(text)),
            14 => call("histogram_quantile", vec![text, vector]),
            15 => call("clamp", vec![vector, number]),
            16 => call("scalar", vec![number]),
            17 => call("vector", vec![vector]),
            18 => subquery(number),
            19 => {
                let args = ["made", "$1", "job", "("].map(|text| Expr::Text(text.to_owned()));
                call("label_replace", [vec![vector], args.to_vec()].concat())
            }
            20 => Expr::Binary {
                op: "/",
                returns_bool: false,
                matching: Matching {
                    labels: Some((true, vec!["job"])),
                    group: Some(("group_left", vec!["job"])),
                    fill: None,
                },
                lhs: Box::new(vector.clone()),
                rhs: Box::new(vector),
            },
            _ => Expr::Select {
                metric: None,
                matchers: vec!["job=~\".*\"".to_owned()],
                range: None,
                place: Place::default(),
                extension: None,
            },
        }
    }
}

fn subquery(inner: Expr) -> Expr {
    Expr::Subquery {
        inner: Box::new(inner),
        range: 302,
        step: None,
        place: Place::default(),
    }
}
