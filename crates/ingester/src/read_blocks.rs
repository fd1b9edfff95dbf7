//! The ingester as a reader of the blocks that are still on its disk.

use std::sync::Arc;

use block::Block;
use block::several::Several;
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{LookupBounds, SelectError, SelectRequest, SeriesSamples, SeriesSet, Skipped};
use model::tenant::TenantId;
use wire::service::{BlockReadService, LookupRequest};

use crate::Ingester;
use crate::blocks::LocalBlock;
use crate::ship::{ShipError, Shipper};

/// The blocks of a read, to be checked where it finds damage: the bucket has them too.
#[derive(Clone)]
struct Copies {
    shipper: Arc<Shipper>,
    tenant: TenantId,
    blocks: Vec<Arc<LocalBlock>>,
}

impl Copies {
    /// Sets damaged copies aside, so that who asks again is sent to the bucket.
    fn look_into(&self, error: SelectError) -> SelectError {
        if error.kind != ErrorKind::Corrupt {
            return error;
        }
        let damaged = |one: &&Arc<LocalBlock>| {
            let checked = self.shipper.check(&self.tenant, one);
            matches!(checked, Err(ShipError::SetAside(_)))
        };
        if self.blocks.iter().filter(damaged).count() == 0 {
            return error;
        }
        SelectError {
            kind: ErrorKind::NotFound,
            ..error
        }
    }
}

/// A local block is open all the time.
#[expect(clippy::unnecessary_wraps, reason = "others have to be opened")]
fn open(one: &Arc<LocalBlock>) -> Result<Option<Arc<Block>>, SelectError> {
    Ok(Some(Arc::clone(&one.block)))
}

/// A set of local copies; damage that it comes to is looked into.
struct CopiesSet {
    set: Box<dyn SeriesSet>,
    copies: Copies,
}

impl SeriesSet for CopiesSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let next = self.set.next(samples);
        next.map_err(|error| self.copies.look_into(error))
    }

    fn remaining(&self) -> Option<usize> {
        self.set.remaining()
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let sets = self.set.split(parts).into_iter();
        let part = |set| -> Box<dyn SeriesSet> {
            let copies = self.copies.clone();
            Box::new(Self { set, copies })
        };
        sets.map(part).collect()
    }
}

impl Ingester {
    fn local_block(&self, tenant: &TenantId, id: &str) -> Option<Arc<LocalBlock>> {
        self.shipper.get()?.local.committed(tenant, id)
    }

    fn copies(&self, tenant: &TenantId, ids: &[String]) -> Result<Copies, SelectError> {
        let gone = |id: &String| SelectError {
            kind: ErrorKind::NotFound,
            message: format!("block {id} of tenant {tenant} is not on this disk any more"),
        };
        let find = |id: &String| self.local_block(tenant, id).ok_or_else(|| gone(id));
        let shipper = self.shipper.get().ok_or_else(|| SelectError {
            kind: ErrorKind::NotFound,
            message: format!("the blocks of tenant {tenant} are not open here yet"),
        })?;
        Ok(Copies {
            shipper: Arc::clone(shipper),
            tenant: tenant.clone(),
            blocks: ids.iter().map(find).collect::<Result<_, _>>()?,
        })
    }
}

/// Bounds of a look-up that leaves nothing out: what is damaged here the bucket has.
fn whole(bounds: &LookupBounds) -> LookupBounds {
    LookupBounds {
        skipped: Skipped::default(),
        ..bounds.clone()
    }
}

impl BlockReadService for Ingester {
    fn holds(&self, tenant: &TenantId, block: &str) -> bool {
        self.local_block(tenant, block).is_some()
    }

    fn select(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let copies = self.copies(tenant, blocks)?;
        // What is damaged here the bucket has: nothing is left out for it.
        let request = &SelectRequest {
            skipped: Skipped::default(),
            ..request.clone()
        };
        let set = Several::new(&copies.blocks, open).select(request);
        let set = set.map_err(|error| copies.look_into(error))?;
        Ok(Box::new(CopiesSet { set, copies }))
    }

    fn series(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<Labels>, SelectError> {
        let (sets, bounds) = (&request.matcher_sets, &whole(&request.bounds));
        let copies = self.copies(tenant, blocks)?;
        let found = Several::new(&copies.blocks, open).series(sets, bounds);
        found.map_err(|error| copies.look_into(error))
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let (sets, bounds) = (&request.matcher_sets, &whole(&request.bounds));
        let copies = self.copies(tenant, blocks)?;
        let found = Several::new(&copies.blocks, open).label_names(sets, bounds);
        found.map_err(|error| copies.look_into(error))
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        name: &str,
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let (sets, bounds) = (&request.matcher_sets, &whole(&request.bounds));
        let copies = self.copies(tenant, blocks)?;
        let found = Several::new(&copies.blocks, open).label_values(name, sets, bounds);
        found.map_err(|error| copies.look_into(error))
    }

    fn exemplars(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let (sets, bounds) = (&request.matcher_sets, &whole(&request.bounds));
        let copies = self.copies(tenant, blocks)?;
        let found = Several::new(&copies.blocks, open).exemplars(sets, request.range, bounds);
        found.map_err(|error| copies.look_into(error))
    }
}
