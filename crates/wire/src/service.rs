//! The services by which roles meet. A caller holds one of these and does not know whether a
//! function call or a network lies behind it.
//!
//! All calls block until they are answered: callers run them on a pool of their own, never on
//! the runtime's workers.

use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::limits::Limits;
use model::matcher::Matcher;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSet};
use model::tenant::TenantId;
use model::time::TimeRange;
use model::write::{MetricMetadata, WriteBatch, WriteOutcome};

use crate::remote_write::RawLabels;

/// A whole request that failed; rows that failed are in the [`WriteOutcome`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The id under which docs/errors.md explains it.
    pub id: &'static str,
    /// What failed, for whom, and what to do.
    pub message: String,
}

/// Takes writes: the ingester.
pub trait IngestService: Send + Sync {
    /// Appends a batch and returns when what it counts as written is durable.
    ///
    /// # Errors
    /// Where nothing of the batch may be counted as written; senders may try again.
    fn push(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        batch: &WriteBatch<RawLabels<'_>>,
    ) -> Result<WriteOutcome, ServiceError>;
}

/// What was found, and whether a limit cut it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<T> {
    /// The items, sorted.
    pub items: Vec<T>,
    /// Whether there was more.
    pub truncated: bool,
}

/// Which series a look-up of metadata means: those that satisfy any of the sets of matchers (no
/// set: all series) and have samples in the range.
#[derive(Clone, Debug)]
pub struct LookupRequest {
    /// Sets of matchers; within a set all must hold.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// The time asked for.
    pub range: TimeRange,
    /// The most items to return; 0: all.
    pub limit: usize,
    /// What it must keep within.
    pub bounds: LookupBounds,
}

/// A name and a count, for the tables of `status/tsdb`.
pub type NameCount = (String, u64);

/// What `status/tsdb` tells of a tenant's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadStatus {
    /// Series in memory.
    pub series: u64,
    /// Distinct pairs of label name and value.
    pub label_pairs: u64,
    /// Chunks, open and closed.
    pub chunks: u64,
    /// The oldest sample's time; `i64::MAX` where there is none.
    pub min_time: i64,
    /// The newest sample's time; `i64::MIN` where there is none.
    pub max_time: i64,
    /// Metric names with the most series.
    pub series_by_metric: Vec<NameCount>,
    /// Label names with the most values.
    pub values_by_label: Vec<NameCount>,
    /// Label names whose values take the most bytes.
    pub bytes_by_label: Vec<NameCount>,
    /// `name=value` pairs with the most series.
    pub series_by_pair: Vec<NameCount>,
}

/// Answers reads of the newest samples: the ingester.
pub trait ReadService: Send + Sync {
    /// The series that match, with their samples.
    ///
    /// # Errors
    /// Where more series match than allowed, or storage fails.
    fn select(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError>;

    /// As [`Self::select`], but the series come sorted by name, then by all labels, so that they
    /// can be merged with others.
    ///
    /// # Errors
    /// As of [`Self::select`].
    fn select_sorted(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError>;

    /// The label sets that match.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or storage fails.
    fn series(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<Labels>, SelectError>;

    /// The label names of the series that match.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or storage fails.
    fn label_names(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError>;

    /// The values one label has among the series that match.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or storage fails.
    fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError>;

    /// Metadata of one metric, or of all.
    ///
    /// # Errors
    /// Where storage fails.
    fn metadata(
        &self,
        tenant: &TenantId,
        metric: Option<&str>,
    ) -> Result<Vec<MetricMetadata>, SelectError>;

    /// The exemplars of the series that match, by series.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or storage fails.
    fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError>;

    /// What the tenant's head holds; each table at most `limit` rows.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or storage fails.
    fn head_status(
        &self,
        tenant: &TenantId,
        limit: usize,
        bounds: &LookupBounds,
    ) -> Result<HeadStatus, SelectError>;
}

/// Answers reads of committed blocks: the store-gateway for all, an ingester for those it still
/// has on its disk. Blocks are named by their ids; which ones a query needs, the catalog tells.
///
/// All calls fail where a block is damaged or out of reach, as the answer would lack its samples;
/// where the request's `Skipped` allows it, they go on without the block and note it there.
pub trait BlockReadService: Send + Sync {
    /// Whether it can answer for a block at once.
    fn holds(&self, tenant: &TenantId, block: &str) -> bool;

    /// The series that match. Those of several blocks, or with all labels, come sorted by name,
    /// then by all labels.
    ///
    /// # Errors
    /// Where more series match than allowed, or a block can't be read.
    fn select(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError>;

    /// The label sets that match, sorted.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or a block can't be read.
    fn series(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<Labels>, SelectError>;

    /// The label names of the series that match, sorted.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or a block can't be read.
    fn label_names(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError>;

    /// The values one label has among the series that match, sorted.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or a block can't be read.
    fn label_values(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        name: &str,
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError>;

    /// The exemplars of the series that match, by series.
    ///
    /// # Errors
    /// Where a bound is hit, it is to stop, or a block can't be read.
    fn exemplars(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError>;
}
