//! What a query answers: scalars, strings, vectors and matrices.

use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::time::TimestampMs;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// A text.
    String,
    /// Series with one point per step.
    Vector,
    /// Series with a window of points per step.
    Matrix,
}

impl ValueType {
    /// As error texts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As the API names it in `resultType`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// One point's value.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One series of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its float points, ascending in time.
    pub floats: Vec<(TimestampMs, f64)>,
    /// Its histogram points, ascending in time; no time is in both.
    pub histograms: Vec<(TimestampMs, Arc<FloatHistogram>)>,
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPoint {
    /// Its labels.
    pub labels: Labels,
    /// The time it is for: that of the query, or of the sample behind a range selector.
    pub t: TimestampMs,
    /// Its value.
    pub value: PointValue,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number, at the time of the query.
    Scalar(TimestampMs, f64),
    /// A text, at the time of the query.
    String(TimestampMs, String),
    /// The elements of an instant query, in the order in which they are to be shown.
    Vector(Vec<VectorPoint>),
    /// The series of a range query, or of an instant query for a range vector, sorted by labels.
    Matrix(Vec<Series>),
}

impl QueryValue {
    /// The type of the answer.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar(..) => ValueType::Scalar,
            Self::String(..) => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }
}
