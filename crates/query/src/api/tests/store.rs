//! A store in memory that answers reads: for tests of the API, and for fuzzing it.

use std::collections::BTreeSet;
use std::vec;

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::tenant::TenantId;
use model::write::MetricMetadata;
use wire::service::{Found, HeadStatus, LookupRequest, ReadService};

/// Series of one tenant; any other has none.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) tenant: TenantId,
    pub(super) series: Vec<(Labels, Vec<(i64, f64)>)>,
    pub(super) metadata: Vec<MetricMetadata>,
    pub(super) exemplars: Vec<(Labels, Vec<Exemplar>)>,
}

impl Store {
    fn of(&self, tenant: &TenantId) -> &[(Labels, Vec<(i64, f64)>)] {
        if *tenant == self.tenant {
            &self.series
        } else {
            &[]
        }
    }

    fn found(&self, tenant: &TenantId, request: &LookupRequest) -> Vec<&Labels> {
        let with_samples = self
            .of(tenant)
            .iter()
            .filter(|(_, samples)| samples.iter().any(|(t, _)| request.range.contains(*t)));
        with_samples
            .map(|(labels, _)| labels)
            .filter(|labels| matches_any(labels, &request.matcher_sets))
            .collect()
    }
}

fn matches(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers
        .iter()
        .all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
}

fn matches_any(labels: &Labels, sets: &[Vec<Matcher>]) -> bool {
    sets.is_empty() || sets.iter().any(|set| matches(labels, set))
}

fn cut<T>(items: BTreeSet<T>, limit: usize) -> Found<T> {
    let truncated = limit > 0 && items.len() > limit;
    let keep = if limit == 0 { usize::MAX } else { limit };
    Found {
        items: items.into_iter().take(keep).collect(),
        truncated,
    }
}

struct Set(vec::IntoIter<(Labels, SeriesSamples)>);

impl SeriesSet for Set {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        let Some((labels, found)) = self.0.next() else {
            return Ok(None);
        };
        *samples = found;
        Ok(Some(labels))
    }

    fn split(self: Box<Self>, _parts: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

impl ReadService for Store {
    fn select(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let mut found = Vec::new();
        for (labels, points) in self.of(tenant) {
            if !matches(labels, &request.matchers) {
                continue;
            }
            let within = points.iter().filter(|(t, _)| request.range.contains(*t));
            let (ts, values) = within.copied().unzip();
            let samples = SeriesSamples {
                ts,
                values,
                ..SeriesSamples::default()
            };
            found.push((labels.clone(), samples));
        }
        Ok(Box::new(Set(found.into_iter())))
    }

    fn select_sorted(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.select(tenant, request)
    }

    fn series(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<Labels>, SelectError> {
        let found: BTreeSet<Labels> = self.found(tenant, request).into_iter().cloned().collect();
        request.bounds.series(found.len() as u64)?;
        request
            .bounds
            .bytes(found.iter().map(Labels::heap_bytes).sum())?;
        Ok(cut(found, request.limit))
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let found = self.found(tenant, request).into_iter();
        let names = found.flat_map(|l| l.iter().map(|(name, _)| name.to_owned()));
        Ok(cut(names.collect(), request.limit))
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let found = self.found(tenant, request).into_iter();
        let values = found.filter_map(|l| l.get(name).map(str::to_owned));
        Ok(cut(values.collect(), request.limit))
    }

    fn metadata(
        &self,
        _: &TenantId,
        metric: Option<&str>,
    ) -> Result<Vec<MetricMetadata>, SelectError> {
        let wanted = |m: &&MetricMetadata| metric.is_none_or(|name| m.metric == name);
        Ok(self.metadata.iter().filter(wanted).cloned().collect())
    }

    fn exemplars(
        &self,
        _: &TenantId,
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let mut found = Vec::new();
        for (labels, all) in &self.exemplars {
            let within: Vec<Exemplar> = all
                .iter()
                .filter(|e| request.range.contains(e.t))
                .cloned()
                .collect();
            if matches_any(labels, &request.matcher_sets) && !within.is_empty() {
                found.push((labels.clone(), within));
            }
        }
        Ok(found)
    }

    fn head_status(
        &self,
        tenant: &TenantId,
        limit: usize,
        bounds: &LookupBounds,
    ) -> Result<HeadStatus, SelectError> {
        bounds.go_on()?;
        let mut status = HeadStatus {
            series: self.of(tenant).len() as u64,
            min_time: 0,
            max_time: 1000,
            series_by_metric: vec![("up".to_owned(), 2), ("http.requests".to_owned(), 1)],
            ..HeadStatus::default()
        };
        status.series_by_metric.truncate(limit);
        Ok(status)
    }
}
