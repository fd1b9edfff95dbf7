//! Where a query's samples come from: the newest from the ingester's head, the rest from the
//! blocks that the catalog names, which the ingester's disk or the store-gateway answers for.
//!
//! The head is asked first and the catalog read after it: what the head had dropped by then, the
//! catalog has, and what it drops later, it keeps until the select is done. So no sample is
//! missed while a range moves from the head to the bucket; what is in both is told once.

mod standby;

use std::collections::BTreeMap;
use std::sync::Arc;

use block::catalog::{BlockEntry, Catalog, Catalogs};
use block::merge::merge;
use block::several::going_on;
use model::asker;
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, LookupBounds, SelectError, SelectRequest, SeriesSet, Skipped};
use model::tenant::TenantId;
use model::time::TimeRange;
use model::write::MetricMetadata;
use wire::service::{BlockReadService, Found, HeadStatus, LookupRequest, ReadService};

/// The head and the blocks of all tenants, as one.
pub struct Storage {
    /// The newest samples.
    pub head: Arc<dyn ReadService>,
    /// Which blocks there are.
    pub catalogs: Arc<Catalogs>,
    /// Answers for blocks that are near.
    pub near: Arc<dyn BlockReadService>,
    /// Answers for all blocks.
    pub gateway: Arc<dyn BlockReadService>,
}

/// The blocks a read needs, by who answers for them.
#[derive(Default)]
struct Blocks {
    near: Vec<String>,
    far: Vec<String>,
}

/// What was answered for blocks. Far blocks are older, and of two samples at one time the first
/// counts: their answer comes first.
#[derive(Debug, PartialEq)]
struct Answers<T> {
    far: Option<T>,
    near: Option<T>,
}

impl<T> IntoIterator for Answers<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::option::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.far.into_iter().chain(self.near)
    }
}

impl Blocks {
    fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty()
    }

    /// Asks those who answer for blocks. A near copy may have gone since it was planned with: the
    /// bucket has it. Whatever fails, `go_on` tells first whether anybody still waits.
    fn ask<T>(
        &mut self,
        (near, gateway): (&dyn BlockReadService, &dyn BlockReadService),
        skipped: &Skipped,
        go_on: impl Fn() -> Result<(), SelectError>,
        ask: impl Fn(&dyn BlockReadService, &[String]) -> Result<T, SelectError>,
    ) -> Result<Answers<T>, SelectError> {
        let mut answers = Answers {
            far: None,
            near: None,
        };
        if !self.near.is_empty() {
            match ask(near, &self.near) {
                Err(error) if error.kind == ErrorKind::NotFound => {
                    self.far.append(&mut self.near);
                }
                Err(error) => {
                    go_on()?;
                    skipped.go_on("the newest blocks", error)?;
                }
                Ok(answer) => answers.near = Some(answer),
            }
        }
        if !self.far.is_empty() {
            match ask(gateway, &self.far) {
                Err(error) => {
                    go_on()?;
                    skipped.go_on("the blocks in the bucket", error)?;
                }
                Ok(answer) => answers.far = Some(answer),
            }
        }
        Ok(answers)
    }
}

impl Storage {
    /// The blocks that may have what is asked for.
    fn blocks(
        &self,
        tenant: &TenantId,
        sets: &[&[Matcher]],
        range: TimeRange,
        skipped: &Skipped,
    ) -> Result<Blocks, SelectError> {
        let mut blocks = Blocks::default();
        let catalog = match self.catalogs.current(tenant) {
            Ok(catalog) => catalog,
            Err(error) => {
                skipped.go_on(format_args!("all blocks of tenant {tenant}"), error.into())?;
                return Ok(blocks);
            }
        };
        for block in needed(&catalog, sets, range) {
            let id = block.id().to_owned();
            if self.near.holds(tenant, &id) {
                blocks.near.push(id);
            } else {
                blocks.far.push(id);
            }
        }
        Ok(blocks)
    }

    /// Who answers for near blocks, and for all.
    fn services(&self) -> (&dyn BlockReadService, &dyn BlockReadService) {
        (&*self.near, &*self.gateway)
    }

    fn blocks_of(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Blocks, SelectError> {
        let sets = [request.matchers.as_slice()];
        self.blocks(tenant, &sets, request.range, &request.skipped)
    }

    /// Selects from blocks.
    fn select_blocks(
        &self,
        tenant: &TenantId,
        mut blocks: Blocks,
        request: &SelectRequest,
    ) -> Result<Vec<Box<dyn SeriesSet>>, SelectError> {
        let skipped = &request.skipped;
        let select =
            |service: &dyn BlockReadService, ids: &[String]| service.select(tenant, ids, request);
        let mut answers = blocks.ask(self.services(), skipped, asker::go_on, select)?;
        if let Some(near) = answers.near {
            let gateway = Arc::clone(&self.gateway);
            let (tenant, ids) = (tenant.clone(), blocks.near);
            // All of the same series, or none: they are counted to find where it ended.
            let request = SelectRequest {
                skipped: Skipped::default(),
                ..request.clone()
            };
            let again = move || gateway.select(&tenant, &ids, &request);
            answers.near = Some(standby::of(near, Arc::new(again)));
        }
        let sets = answers.into_iter();
        let named = |set| going_on(set, skipped, "a part of the blocks".to_owned());
        Ok(sets.map(named).collect())
    }

    /// Asks those who have blocks for what they know.
    fn look_up<T>(
        &self,
        mut blocks: Blocks,
        bounds: &LookupBounds,
        ask: impl Fn(&dyn BlockReadService, &[String]) -> Result<T, SelectError>,
    ) -> Result<Answers<T>, SelectError> {
        blocks.ask(self.services(), &bounds.skipped, || bounds.go_on(), ask)
    }

    /// A look-up of names: of the head, then of the blocks.
    fn names(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
        head: Found<String>,
        ask: impl Fn(&dyn BlockReadService, &[String]) -> Result<Vec<String>, SelectError>,
    ) -> Result<Found<String>, SelectError> {
        let skipped = &request.bounds.skipped;
        let blocks = self.blocks(tenant, &sets_of(request), request.range, skipped)?;
        if blocks.is_empty() {
            return Ok(head);
        }
        let found = self.look_up(blocks, &request.bounds, ask)?;
        Ok(united(head, found, request.limit))
    }
}

/// The blocks of a catalog that may have series of these sets of matchers (none: all) in a range.
fn needed<'c>(
    catalog: &'c Catalog,
    sets: &[&[Matcher]],
    range: TimeRange,
) -> impl Iterator<Item = &'c BlockEntry> {
    let may_have = move |block: &&BlockEntry, sets: &[&[Matcher]]| {
        let names = block.metric_names.as_ref();
        let passes = |matcher: &Matcher| {
            let is_name = &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
            !is_name || names.is_none_or(|names| names.may_contain(&matcher.value))
        };
        sets.is_empty() || sets.iter().any(|set| set.iter().all(passes))
    };
    let blocks = catalog.blocks.iter().map(Arc::as_ref);
    let within = blocks.filter(move |block| !range.is_empty() && block.overlaps(range));
    within
        .filter(|block| may_have(block, sets))
        .collect::<Vec<_>>()
        .into_iter()
}

fn sets_of(request: &LookupRequest) -> Vec<&[Matcher]> {
    request.matcher_sets.iter().map(Vec::as_slice).collect()
}

/// What several found, sorted, each once, cut at a limit (0: none).
fn united<T: Ord>(
    head: Found<T>,
    others: impl IntoIterator<Item = Vec<T>>,
    limit: usize,
) -> Found<T> {
    let Found {
        mut items,
        mut truncated,
    } = head;
    items.extend(others.into_iter().flatten());
    items.sort_unstable();
    items.dedup();
    if limit > 0 && items.len() > limit {
        items.truncate(limit);
        truncated = true;
    }
    Found { items, truncated }
}

impl ReadService for Storage {
    fn select(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let head = self.head.select(tenant, request)?;
        let blocks = self.blocks_of(tenant, request)?;
        if blocks.is_empty() {
            return Ok(head);
        }
        let whole = SelectRequest {
            labels: LabelsNeeded::All,
            ..request.clone()
        };
        // The catalog is read again after the select that is used: what the head has dropped
        // before that one began may be in blocks of a later version only.
        drop(head);
        let sorted = self.head.select_sorted(tenant, &whole)?;
        let blocks = self.blocks_of(tenant, request)?;
        let mut sets = self.select_blocks(tenant, blocks, &whole)?;
        // What was written first counts: a block's sample before one that came later.
        sets.push(sorted);
        Ok(merge(sets))
    }

    fn select_sorted(
        &self,
        tenant: &TenantId,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let head = self.head.select_sorted(tenant, request)?;
        let blocks = self.blocks_of(tenant, request)?;
        let mut sets = self.select_blocks(tenant, blocks, request)?;
        sets.push(head);
        Ok(merge(sets))
    }

    fn series(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<Labels>, SelectError> {
        let head = self.head.series(tenant, request)?;
        let skipped = &request.bounds.skipped;
        let blocks = self.blocks(tenant, &sets_of(request), request.range, skipped)?;
        if blocks.is_empty() {
            return Ok(head);
        }
        let found = self.look_up(blocks, &request.bounds, |service, ids| {
            service.series(tenant, ids, request)
        })?;
        let united = united(head, found, request.limit);
        request.bounds.series(united.items.len() as u64)?;
        Ok(united)
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let head = self.head.label_names(tenant, request)?;
        self.names(tenant, request, head, |service, ids| {
            service.label_names(tenant, ids, request)
        })
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LookupRequest,
    ) -> Result<Found<String>, SelectError> {
        let head = self.head.label_values(tenant, name, request)?;
        self.names(tenant, request, head, |service, ids| {
            service.label_values(tenant, ids, name, request)
        })
    }

    fn metadata(
        &self,
        tenant: &TenantId,
        metric: Option<&str>,
    ) -> Result<Vec<MetricMetadata>, SelectError> {
        self.head.metadata(tenant, metric)
    }

    fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let head = self.head.exemplars(tenant, request)?;
        let skipped = &request.bounds.skipped;
        let blocks = self.blocks(tenant, &sets_of(request), request.range, skipped)?;
        if blocks.is_empty() {
            return Ok(head);
        }
        let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        let found = self.look_up(blocks, &request.bounds, |service, ids| {
            service.exemplars(tenant, ids, request)
        })?;
        for (labels, exemplars) in found.into_iter().flatten().chain(head) {
            all.entry(labels).or_default().extend(exemplars);
        }
        for exemplars in all.values_mut() {
            exemplars.sort_by_key(|exemplar| exemplar.t);
            exemplars.dedup();
        }
        Ok(all.into_iter().collect())
    }

    fn head_status(
        &self,
        tenant: &TenantId,
        limit: usize,
        bounds: &LookupBounds,
    ) -> Result<HeadStatus, SelectError> {
        self.head.head_status(tenant, limit, bounds)
    }
}

#[cfg(test)]
mod tests;
