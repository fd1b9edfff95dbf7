//! A successful answer: the envelope, and the data within.

use axum::response::{IntoResponse, Response};
use http::header;
use model::select::Skipped;
use wire::api_json;

use super::body::{BodyBuilder, Bounds, Pieces, Stopped};

/// What cut a list short, said in `warnings`.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// Writes the value of `data`.
pub(crate) type WriteData = Box<dyn FnOnce(&mut BodyBuilder) + Send>;

/// Data, and what there is to say about it.
pub(crate) struct Answer {
    data: WriteData,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
    /// Bytes that the data themselves take while they are written.
    pub(crate) data_bytes: usize,
}

/// An answer as bytes.
#[derive(Debug)]
pub(crate) struct Finished(Pieces);

impl Answer {
    pub(crate) fn new(data: impl FnOnce(&mut BodyBuilder) + Send + 'static) -> Self {
        Self {
            data: Box::new(data),
            warnings: Vec::new(),
            infos: Vec::new(),
            data_bytes: 0,
        }
    }

    /// Data that is small enough for a tree of values.
    pub(crate) fn value(data: serde_json::Value) -> Self {
        Self::new(move |out| out.text.extend_from_slice(data.to_string().as_bytes()))
    }

    /// A list of items, each written by `each`.
    pub(crate) fn list<T: Send + 'static>(
        items: Vec<T>,
        mut each: impl FnMut(&mut Vec<u8>, &T) + Send + 'static,
    ) -> Self {
        Self::new(move |out| {
            out.text.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.text.push(b',');
                }
                each(&mut out.text, item);
                if !out.flush_full() {
                    return;
                }
            }
            out.text.push(b']');
        })
    }

    /// Says that a limit cut the data, if it did.
    #[must_use]
    pub(crate) fn truncated(mut self, truncated: bool) -> Self {
        if truncated {
            self.warnings.push(TRUNCATED.to_owned());
        }
        self
    }

    /// Says what was left out because it can't be read.
    #[must_use]
    pub(crate) fn without(mut self, skipped: &Skipped) -> Self {
        self.warnings.extend(skipped.texts());
        self
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Where it does not keep within the bounds.
    pub(crate) fn finish(self, gzip: bool, mut bounds: Bounds) -> Result<Finished, Stopped> {
        let left = |most: usize| most.saturating_sub(self.data_bytes);
        bounds.most = bounds.most.map(left);
        let mut out = BodyBuilder::new(gzip, bounds);
        out.text
            .extend_from_slice(b"{\"status\":\"success\",\"data\":");
        (self.data)(&mut out);
        for (name, texts) in [("warnings", self.warnings), ("infos", self.infos)] {
            if texts.is_empty() {
                continue;
            }
            out.text
                .extend_from_slice(format!(",\"{name}\":[").as_bytes());
            for (at, text) in texts.iter().enumerate() {
                if at > 0 {
                    out.text.push(b',');
                }
                api_json::string(&mut out.text, text);
            }
            out.text.push(b']');
        }
        out.text.push(b'}');
        out.finish().map(Finished)
    }
}

impl Finished {
    /// Bytes of the body.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl IntoResponse for Finished {
    fn into_response(self) -> Response {
        let gzip = self.0.gzip;
        let mut response = Response::new(self.0.into_body());
        let headers = response.headers_mut();
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(
            header::VARY,
            http::HeaderValue::from_static("Accept-Encoding"),
        );
        if gzip {
            let value = http::HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, value);
        }
        response
    }
}
