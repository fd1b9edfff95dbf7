//! Writes blocks of what a head is cut of.

use std::sync::Arc;

use block::merge::{merge, subtract};
use block::{Block, BlockSpec, BlockWriter, SortKey, slice_ms_for};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::tenant::TenantId;
use model::time::{TimeRange, TimestampMs};
use tsdb::head::TenantHead;
use tsdb::head::cut::{Cut, CutMark};

use super::{ShipError, Shipper, Step, discard};
use crate::blocks::LocalBlock;

impl Shipper {
    /// Writes a block for each range of a head before an instant, on this disk.
    pub(super) fn build(
        &self,
        head: &Arc<TenantHead>,
        before: TimestampMs,
    ) -> Result<(Vec<Arc<LocalBlock>>, CutMark), ShipError> {
        let tenant = head.tenant();
        self.store.cut(head, before, |cut| {
            let mut built = Vec::new();
            for range in cut.ranges() {
                self.steps.pass(Step::Build)?;
                built.extend(self.build_one(tenant, cut, *range)?);
            }
            Ok((built, cut.mark()))
        })
    }

    /// Writes the block of a range, without what blocks on this disk have of it; `None` where they
    /// have all.
    fn build_one(
        &self,
        tenant: &TenantId,
        cut: &Cut<'_>,
        range: TimeRange,
    ) -> Result<Option<Arc<LocalBlock>>, ShipError> {
        let id = self.catalogs.new_id();
        let folder = self.local.place(tenant, &id)?;
        let mut earlier = Earlier::new(&self.local.within(tenant, range), range)?;
        let mut writer: Option<BlockWriter> = None;
        let mut left = SeriesSamples::default();
        let sink = |labels: &Labels, samples: &SeriesSamples, exemplars: &[Exemplar]| {
            let samples = match earlier.of(labels)? {
                Some(known) => {
                    left.clone_from(samples);
                    subtract(&mut left, known);
                    &left
                }
                None => samples,
            };
            if samples.is_empty() {
                return Ok(());
            }
            if writer.is_none() {
                let spec = BlockSpec {
                    id: id.clone(),
                    tenant: tenant.clone(),
                    range,
                    slice_ms: slice_ms_for(range, interval_ms(samples)),
                    level: 0,
                    sources: Vec::new(),
                };
                writer = Some(BlockWriter::create(&folder, spec)?);
            }
            if let Some(writer) = &mut writer {
                writer.push(labels, samples)?;
                writer.push_exemplars(labels, exemplars)?;
            }
            Ok::<(), ShipError>(())
        };
        let written = cut.each(range, sink).and_then(|()| {
            let Some(writer) = writer else {
                return Ok(None);
            };
            self.steps.pass(Step::Finish)?;
            writer.finish()?;
            Ok(Some(Block::open(&folder)?))
        });
        match written {
            Ok(block) => Ok(block.map(|block| self.local.add(tenant, folder, block))),
            // A stop stands for a crash: it leaves what a crash would leave.
            Err(error @ ShipError::Stopped(_)) => Err(error),
            Err(error) => {
                discard(&folder);
                Err(error)
            }
        }
    }
}

/// How far apart samples of a series are, about.
fn interval_ms(samples: &SeriesSamples) -> i64 {
    let ts = &samples.ts;
    let (Some(first), Some(last)) = (ts.first(), ts.last()) else {
        return 15_000;
    };
    (last - first) / (ts.len() as i64 - 1).max(1)
}

/// What blocks on this disk have of a range already, walked in step with the cut.
struct Earlier {
    set: Option<Box<dyn SeriesSet>>,
    labels: Option<Labels>,
    samples: SeriesSamples,
}

impl Earlier {
    fn new(blocks: &[Arc<Block>], range: TimeRange) -> Result<Self, SelectError> {
        let request = SelectRequest {
            matchers: Vec::new(),
            range,
            labels: LabelsNeeded::All,
            max_series: 0,
        };
        let sets: Result<Vec<_>, _> = blocks.iter().map(|block| block.select(&request)).collect();
        let mut earlier = Self {
            set: (!blocks.is_empty()).then_some(merge(sets?)),
            labels: None,
            samples: SeriesSamples::default(),
        };
        earlier.advance()?;
        Ok(earlier)
    }

    fn advance(&mut self) -> Result<(), SelectError> {
        if let Some(set) = &mut self.set {
            self.labels = set.next(&mut self.samples)?;
        }
        Ok(())
    }

    /// What the blocks have of a series; series are asked for in the order of blocks.
    fn of(&mut self, labels: &Labels) -> Result<Option<&SeriesSamples>, SelectError> {
        while let Some(own) = &self.labels {
            match SortKey::compare(own, labels) {
                std::cmp::Ordering::Less => self.advance()?,
                std::cmp::Ordering::Equal => return Ok(Some(&self.samples)),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}
