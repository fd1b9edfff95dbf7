//! Writes blocks of what a head is cut of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use block::merge::{merge, subtract};
use block::{BlockSpec, BlockWriter, SortKey, slice_ms_for};
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet, Skipped};
use model::tenant::TenantId;
use model::time::{TimeRange, TimestampMs};
use tsdb::head::TenantHead;
use tsdb::head::cut::{Cut, CutMark, Unreadable};

use super::{ShipError, Shipper, Step, discard};
use crate::blocks::LocalBlock;

impl Shipper {
    /// Writes blocks for each range of a head before an instant, on this disk.
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
                built.extend(self.build_range(tenant, cut, *range)?);
            }
            self.tell_unreadable(tenant, &cut.unreadable());
            Ok((built, cut.mark()))
        })
    }

    fn tell_unreadable(&self, tenant: &TenantId, unreadable: &Unreadable) {
        if unreadable.chunks > 0 {
            let counter = &self.counters.unreadable_chunks;
            counter.fetch_add(unreadable.chunks as u64, Relaxed);
            tracing::error!(
                %tenant,
                chunks = unreadable.chunks,
                first = unreadable.first,
                "chunks can't be read: they stay in the head, all others go to blocks; queries of \
                 their time fail; check the disk"
            );
        }
    }

    /// Writes the blocks of a range, without what blocks on this disk have of it that count or will
    /// count: none where they have all, more than one where the range has more series than a block may have.
    fn build_range(
        &self,
        tenant: &TenantId,
        cut: &Cut<'_>,
        range: TimeRange,
    ) -> Result<Vec<Arc<LocalBlock>>, ShipError> {
        let known = self.counting(tenant, range)?;
        let mut earlier = self.whole(tenant, &known, Earlier::new(&known, range))?;
        let mut left = SeriesSamples::default();
        let mut writer = RangeWriter {
            shipper: self,
            tenant,
            range,
            open: None,
            built: Vec::new(),
        };
        let sink = |labels: &Labels, samples: &SeriesSamples, exemplars: &[Exemplar]| {
            let samples = match self.whole(tenant, &known, earlier.of(labels))? {
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
            writer.push(labels, samples, exemplars)
        };
        let written = cut.each(range, sink).and_then(|()| writer.finish());
        match written {
            Ok(()) => Ok(writer.built),
            // A stop stands for a crash: it leaves what a crash would leave.
            Err(error @ ShipError::Stopped(_)) => Err(error),
            Err(error) => {
                writer.give_up();
                Err(error)
            }
        }
    }

    /// The blocks on this disk with samples in a range that the catalog has, or will have.
    fn counting(
        &self,
        tenant: &TenantId,
        range: TimeRange,
    ) -> Result<Vec<Arc<LocalBlock>>, ShipError> {
        let mut known = self.local.within(tenant, range);
        if known.iter().any(|one| one.is_committed()) {
            let catalog = self.catalogs.current(tenant)?;
            known.retain(|one| !one.is_committed() || catalog.covers(one.id()));
        }
        Ok(known)
    }

    /// Where blocks on this disk can't be read, sets aside those that are damaged.
    fn whole<T>(
        &self,
        tenant: &TenantId,
        known: &[Arc<LocalBlock>],
        read: Result<T, SelectError>,
    ) -> Result<T, ShipError> {
        if read.is_err() {
            for one in known {
                self.check(tenant, one)?;
            }
        }
        Ok(read?)
    }
}

/// Writes the blocks of one range, one after the other.
struct RangeWriter<'s> {
    shipper: &'s Shipper,
    tenant: &'s TenantId,
    range: TimeRange,
    open: Option<OpenBlock>,
    built: Vec<Arc<LocalBlock>>,
}

/// A block that is being written.
struct OpenBlock {
    writer: BlockWriter,
    folder: PathBuf,
    series: usize,
}

impl RangeWriter<'_> {
    fn push(
        &mut self,
        labels: &Labels,
        samples: &SeriesSamples,
        exemplars: &[Exemplar],
    ) -> Result<(), ShipError> {
        let most = self.shipper.config.max_series;
        if self.open.as_ref().is_some_and(|open| open.series >= most) {
            self.finish()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenBlock::begin(
                self.shipper,
                self.tenant,
                self.range,
                samples,
            )?),
        };
        open.writer.push(labels, samples)?;
        open.writer.push_exemplars(labels, exemplars)?;
        open.series += 1;
        Ok(())
    }

    /// Makes a block of what was pushed since the last one.
    fn finish(&mut self) -> Result<(), ShipError> {
        let Some(OpenBlock { writer, folder, .. }) = self.open.take() else {
            return Ok(());
        };
        self.shipper.steps.pass(Step::Finish)?;
        let local = &self.shipper.local;
        let finished = writer.finish();
        let added = finished.and_then(|_| local.add(self.tenant, folder.clone()));
        self.built.push(added.inspect_err(|_| discard(&folder))?);
        Ok(())
    }

    /// Removes what is not whole.
    fn give_up(self) {
        if let Some(open) = self.open {
            discard(&open.folder);
        }
    }
}

impl OpenBlock {
    fn begin(
        shipper: &Shipper,
        tenant: &TenantId,
        range: TimeRange,
        first: &SeriesSamples,
    ) -> Result<Self, ShipError> {
        let id = shipper.catalogs.new_id();
        let folder = shipper.local.place(tenant, &id)?;
        let spec = BlockSpec {
            id,
            tenant: tenant.clone(),
            range,
            slice_ms: slice_ms_for(range, interval_ms(first)),
            level: 0,
            sources: Vec::new(),
        };
        Ok(Self {
            writer: BlockWriter::create(&folder, spec).inspect_err(|_| discard(&folder))?,
            folder,
            series: 0,
        })
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
    fn new(blocks: &[Arc<LocalBlock>], range: TimeRange) -> Result<Self, SelectError> {
        let request = SelectRequest {
            matchers: Vec::new(),
            range,
            labels: LabelsNeeded::All,
            max_series: 0,
            max_bytes: 0,
            skipped: Skipped::default(),
        };
        let sets = blocks.iter().map(|one| one.block.select(&request));
        let sets: Result<Vec<_>, _> = sets.collect();
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
