//! Answers of the query API, read into maps that can be compared.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde_json::Value;

use crate::http::{self, Response};

/// The labels of a series.
pub type Key = BTreeMap<String, String>;

/// Where queries go.
#[derive(Clone, Debug)]
pub struct QueryApi {
    /// The server.
    pub address: SocketAddr,
    /// What stands before `/api/v1`.
    pub prefix: &'static str,
    /// The tenant to ask for, if any.
    pub tenant: Option<String>,
}

impl QueryApi {
    /// GETs `path` (such as `/api/v1/query`) with these parameters.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> io::Result<Response> {
        let target = format!("{}{path}?{}", self.prefix, http::form(parameters));
        http::send(self.address, "GET", &target, &self.headers(), b"")
    }

    /// POSTs the parameters as a form.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn post(&self, path: &str, parameters: &[(&str, &str)]) -> io::Result<Response> {
        let target = format!("{}{path}", self.prefix);
        let mut headers = self.headers();
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        let body = http::form(parameters);
        http::send(self.address, "POST", &target, &headers, body.as_bytes())
    }

    /// The answer of an instant query at `t` milliseconds.
    ///
    /// # Panics
    /// Where it is not a success.
    pub fn instant(&self, query: &str, t: i64) -> Answer {
        let time = seconds(t);
        let response = self.post("/api/v1/query", &[("query", query), ("time", &time)]);
        Answer::of(query, &response.expect("an answer"))
    }

    /// The answer of a range query; all in milliseconds.
    ///
    /// # Panics
    /// Where it is not a success.
    pub fn range(&self, query: &str, start: i64, end: i64, step: i64) -> Answer {
        let (start, end, step) = (seconds(start), seconds(end), seconds(step));
        let parameters = [
            ("query", query),
            ("start", start.as_str()),
            ("end", &end),
            ("step", &step),
        ];
        let response = self.post("/api/v1/query_range", &parameters);
        Answer::of(query, &response.expect("an answer"))
    }

    /// What an instant query at `t` milliseconds comes to, be it an error.
    ///
    /// # Errors
    /// Where the server refuses it.
    ///
    /// # Panics
    /// Where there is no answer, or none that can be read.
    pub fn try_instant(&self, query: &str, t: i64) -> Result<Answer, Refusal> {
        let time = seconds(t);
        let response = self.post("/api/v1/query", &[("query", query), ("time", &time)]);
        Answer::or_refusal(query, &response.expect("an answer"))
    }

    /// What a range query comes to, be it an error; all in milliseconds.
    ///
    /// # Errors
    /// Where the server refuses it.
    ///
    /// # Panics
    /// Where there is no answer, or none that can be read.
    pub fn try_range(
        &self,
        query: &str,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Answer, Refusal> {
        let (start, end, step) = (seconds(start), seconds(end), seconds(step));
        let parameters = [
            ("query", query),
            ("start", start.as_str()),
            ("end", &end),
            ("step", &step),
        ];
        let response = self.post("/api/v1/query_range", &parameters);
        Answer::or_refusal(query, &response.expect("an answer"))
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let tenant = self.tenant.as_deref();
        tenant.map(|id| ("X-Scope-OrgID", id)).into_iter().collect()
    }
}

/// Milliseconds as the API takes times.
pub fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// The points of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Times in milliseconds, and values.
    pub floats: Vec<(i64, f64)>,
    /// Times in milliseconds, and histograms as they were written.
    pub histograms: Vec<(i64, Value)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// `errorType`.
    pub kind: String,
    /// `error`.
    pub message: String,
}

/// How much two values may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// As a share of the larger.
    pub relative: f64,
    /// Where that is more.
    pub absolute: f64,
}

/// What a query gave. A scalar is a series without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `vector`, `matrix`, `scalar` or `string`.
    pub kind: String,
    /// The series by their labels.
    pub series: BTreeMap<Key, Points>,
    /// The labels in the order in which the series came.
    pub order: Vec<Key>,
    /// The text, where it is a string.
    pub text: Option<String>,
}

impl Answer {
    /// Reads an answer to `query`, or the error it is.
    ///
    /// # Errors
    /// With the error.
    ///
    /// # Panics
    /// Where it is neither.
    pub fn or_refusal(query: &str, response: &Response) -> Result<Self, Refusal> {
        if response.status == 200 {
            return Ok(Self::of(query, response));
        }
        let answer = response.json();
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Err(Refusal {
            status: response.status,
            kind: text("errorType"),
            message: text("error"),
        })
    }

    /// Reads a successful answer to `query`.
    ///
    /// # Panics
    /// Where it is not one.
    pub fn of(query: &str, response: &Response) -> Self {
        let text = response.text();
        assert_eq!(response.status, 200, "{query}: {text}");
        let answer = response.json();
        let kind = answer["data"]["resultType"]
            .as_str()
            .expect("a result type");
        let result = &answer["data"]["result"];
        let (mut series, mut order, mut string) = (BTreeMap::new(), Vec::new(), None);
        if kind == "scalar" {
            let points = Points {
                floats: vec![point(result)],
                histograms: Vec::new(),
            };
            series.insert(Key::new(), points);
        } else if kind == "string" {
            string = result[1].as_str().map(str::to_owned);
        } else {
            for one in result.as_array().expect("a list of series") {
                let labels = one["metric"].as_object().expect("labels").iter();
                let text = |value: &Value| value.as_str().expect("a label value").to_owned();
                let key: Key = labels
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect();
                order.push(key.clone());
                let twice = series.insert(key, points(one));
                assert!(twice.is_none(), "{query}: {} is there twice", one["metric"]);
            }
        }
        Self {
            kind: kind.to_owned(),
            series,
            order,
            text: string,
        }
    }

    /// How many float points there are in all.
    pub fn float_count(&self) -> usize {
        self.series.values().map(|points| points.floats.len()).sum()
    }

    /// The value of the only float there is.
    ///
    /// # Panics
    /// Where there is none, or more.
    pub fn only_value(&self) -> f64 {
        assert_eq!(self.float_count(), 1, "one value in {self:?}");
        let mut floats = self.series.values().flat_map(|points| &points.floats);
        floats.next().expect("counted").1
    }

    /// What differs from `other`, where values may differ by `tolerance` of themselves.
    ///
    /// # Errors
    /// With the first few differences in words.
    pub fn same_as(&self, other: &Self, tolerance: f64) -> Result<(), String> {
        let tolerance = Tolerance {
            relative: tolerance,
            absolute: 0.0,
        };
        self.same_within(other, tolerance)
    }

    /// What differs from `other`, where values may differ by that much.
    ///
    /// # Errors
    /// With the first few differences in words.
    pub fn same_within(&self, other: &Self, tolerance: Tolerance) -> Result<(), String> {
        let mut faults = Vec::new();
        if self.kind != other.kind {
            faults.push(format!("{} against {}", self.kind, other.kind));
        }
        for (key, points) in &self.series {
            match other.series.get(key) {
                None => faults.push(format!("{key:?} is on the left only")),
                Some(others) => faults.extend(difference(key, points, others, tolerance)),
            }
        }
        let right_only = other
            .series
            .keys()
            .filter(|key| !self.series.contains_key(*key));
        faults.extend(right_only.map(|key| format!("{key:?} is on the right only")));
        if faults.is_empty() {
            return Ok(());
        }
        let count = faults.len();
        faults.truncate(5);
        Err(format!("{count} differences:\n  {}", faults.join("\n  ")))
    }
}

fn points(series: &Value) -> Points {
    let list = |one: &str, many: &str| -> Vec<Value> {
        let single = series.get(one).cloned().into_iter();
        let several = series.get(many).and_then(Value::as_array).cloned();
        single.chain(several.unwrap_or_default()).collect()
    };
    let histogram = |pair: &Value| (time_ms(&pair[0]), pair[1].clone());
    Points {
        floats: list("value", "values").iter().map(point).collect(),
        histograms: list("histogram", "histograms")
            .iter()
            .map(histogram)
            .collect(),
    }
}

fn point(pair: &Value) -> (i64, f64) {
    let text = pair[1].as_str().expect("a value as text");
    (time_ms(&pair[0]), text.parse().expect("a number"))
}

fn time_ms(seconds: &Value) -> i64 {
    (seconds.as_f64().expect("seconds") * 1000.0).round() as i64
}

fn difference(key: &Key, left: &Points, right: &Points, tolerance: Tolerance) -> Option<String> {
    if left.histograms != right.histograms {
        return Some(format!("{key:?}: the histograms differ"));
    }
    if left.floats.len() != right.floats.len() {
        let (left, right) = (left.floats.len(), right.floats.len());
        return Some(format!("{key:?}: {left} points against {right}"));
    }
    let near = |a: f64, b: f64| {
        let equal = a == b || a.is_nan() && b.is_nan();
        let most = tolerance.relative * a.abs().max(b.abs());
        equal || (a - b).abs() <= most.max(tolerance.absolute)
    };
    let mut pairs = left.floats.iter().zip(&right.floats);
    let wrong = pairs.find(|((t, v), (u, w))| t != u || !near(*v, *w))?;
    let ((t, v), (u, w)) = wrong;
    Some(format!("{key:?}: {v} at {t} against {w} at {u}"))
}
