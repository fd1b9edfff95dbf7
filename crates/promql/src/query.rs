//! A query: its text and its tree.

use std::fmt;

use model::time::Clock;

use crate::ast::{Expr, ExprKind, Selector};
use crate::eval::{EvalError, EvalLimits, EvalOptions, Evaluation, QueryTime, Queryable, evaluate};
use crate::parse::{ParseError, ParseOptions, parse};
use crate::plan::{Plan, PlanError};
use crate::value::ValueType;

/// A parsed query.
#[derive(Clone)]
pub struct Query {
    /// Its text, as given.
    pub text: String,
    /// Its tree.
    pub expr: Expr,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// Where the text is over a limit, is no PromQL, or its types don't fit.
    pub fn parse(text: &str, options: &ParseOptions) -> Result<Self, ParseError> {
        let expr = parse(text, options)?;
        Ok(Self {
            text: text.to_owned(),
            expr,
        })
    }

    /// The type of its answer.
    pub fn value_type(&self) -> ValueType {
        self.expr.value_type()
    }

    /// Its selectors, in the order of the text.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut selectors = Vec::new();
        self.expr.visit(&mut |expr| {
            if let ExprKind::Selector(selector) | ExprKind::Range(selector, _) = &expr.kind {
                selectors.push(selector);
            }
        });
        selectors
    }

    /// Plans and evaluates it.
    ///
    /// # Errors
    /// Where the data don't fit the query, a limit is hit, storage fails, or it was stopped.
    pub fn evaluate(
        &self,
        source: &dyn Queryable,
        time: QueryTime,
        options: EvalOptions,
        limits: &EvalLimits,
        clock: &(dyn Clock + Sync),
    ) -> Result<Evaluation, EvalError> {
        let planned = Plan::new(&self.expr, time);
        let plan = planned.map_err(|error| match error {
            PlanError::Length(error) => EvalError::Execution(error.to_string()),
            PlanError::NoThread(_) => EvalError::Unavailable(error.to_string()),
        })?;
        evaluate(&plan, source, time, options, limits, clock)
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Query({:?})", self.text)
    }
}
