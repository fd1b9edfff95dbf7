//! `format_query`: an expression, printed the way it is usually written.

use axum::extract::State;
use axum::response::Response;

use super::answer::Answer;
use super::error::ApiError;
use super::{Asked, Asker, Shared};
use crate::engine;

pub(crate) async fn format(State(api): Shared, asker: Asker, asked: Asked) -> Response {
    match asked {
        Err(error) => api.refuse("other", error),
        Ok(params) => {
            let query = params.get("query").unwrap_or_default().to_owned();
            api.run("other", asker, None, move |job| {
                let parsed = engine::parse(&query, &job.limits);
                let expr = parsed.map_err(|e| ApiError::query(&e))?;
                Ok(Answer::value(expr.pretty().into()))
            })
            .await
        }
    }
}
