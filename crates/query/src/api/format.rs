//! `format_query` and `parse_query`: a query, printed the way it is usually written, and as a tree.

use axum::extract::State;
use axum::response::Response;
use promql::ast::Expr;
use serde_json::Value;

use super::answer::Answer;
use super::error::ApiError;
use super::{Asked, Asker, Shared, syntax};
use crate::engine;

pub(crate) async fn format(api: Shared, asker: Asker, asked: Asked) -> Response {
    parsed(api, asker, asked, |expr| expr.pretty().into()).await
}

pub(crate) async fn parse(api: Shared, asker: Asker, asked: Asked) -> Response {
    parsed(api, asker, asked, syntax::tree).await
}

/// Answers with what is made of a query.
async fn parsed(
    State(api): Shared,
    asker: Asker,
    asked: Asked,
    told: fn(&Expr) -> Value,
) -> Response {
    match asked {
        Err(error) => api.refuse("other", error),
        Ok(params) => {
            let query = params.get("query").unwrap_or_default().to_owned();
            api.run("other", asker, None, move |job| {
                let parsed = engine::parse(&query, &job.limits);
                let expr = parsed.map_err(|e| ApiError::query(&e))?;
                Ok(Answer::value(told(&expr)))
            })
            .await
        }
    }
}
