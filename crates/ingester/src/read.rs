//! The ingester as the read path sees it.

use std::sync::Arc;

use block::merge::NoSeries;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSet};
use model::tenant::TenantId;
use model::write::MetricMetadata;
use tsdb::head::TenantHead;
use tsdb::head::lookup::Lookup;
use wire::service::{Found, HeadStatus, LookupRequest, ReadService};

use crate::Ingester;

impl Ingester {
    /// The head of a tenant; `None` where it has never written.
    fn head(&self, tenant: &TenantId) -> Result<Option<Arc<TenantHead>>, SelectError> {
        let store = self.store().map_err(|error| SelectError {
            kind: error.kind,
            message: error.message,
        })?;
        Ok(store.head(tenant))
    }
}

fn found<T>((items, truncated): (Vec<T>, bool)) -> Found<T> {
    Found { items, truncated }
}

fn lookup(request: &LookupRequest) -> Lookup<'_> {
    Lookup {
        matcher_sets: &request.matcher_sets,
        range: request.range,
        most: request.limit,
        bounds: &request.bounds,
    }
}

impl ReadService for Ingester {
    fn select(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        match self.head(tenant)? {
            Some(head) => head.select(request),
            None => Ok(Box::new(NoSeries)),
        }
    }

    fn select_sorted(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        match self.head(tenant)? {
            Some(head) => head.select_sorted(request),
            None => Ok(Box::new(NoSeries)),
        }
    }

    fn series(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<Labels>, SelectError> {
        let head = self.head(tenant)?;
        let Some(head) = head else {
            return Ok(Found::default());
        };
        head.series_labels(&lookup(request)).map(found)
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let head = self.head(tenant)?;
        let Some(head) = head else {
            return Ok(Found::default());
        };
        head.label_names(&lookup(request)).map(found)
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let head = self.head(tenant)?;
        let Some(head) = head else {
            return Ok(Found::default());
        };
        head.label_values(name, &lookup(request)).map(found)
    }

    fn metadata(
        &self,
        tenant: &TenantId,
        metric: Option<&str>,
    ) -> Result<Vec<MetricMetadata>, SelectError> {
        let head = self.head(tenant)?;
        Ok(head.map_or_else(Vec::new, |head| head.metadata(metric)))
    }

    fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let head = self.head(tenant)?;
        let Some(head) = head else {
            return Ok(Vec::new());
        };
        head.exemplars(&lookup(request))
    }

    fn head_status(
        &self,
        tenant: &TenantId,
        limit: usize,
        bounds: &LookupBounds,
    ) -> Result<HeadStatus, SelectError> {
        let Some(head) = self.head(tenant)? else {
            return Ok(HeadStatus {
                min_time: i64::MAX,
                max_time: i64::MIN,
                ..HeadStatus::default()
            });
        };
        let cardinality = head.cardinality(limit, bounds)?;
        Ok(HeadStatus {
            series: cardinality.series,
            label_pairs: cardinality.label_pairs,
            chunks: cardinality.chunks,
            min_time: head.oldest(),
            max_time: head.newest(),
            series_by_metric: cardinality.series_by_metric,
            values_by_label: cardinality.values_by_label,
            bytes_by_label: cardinality.bytes_by_label,
            series_by_pair: cardinality.series_by_pair,
        })
    }
}
