//! The ingester as a reader of the blocks that are still on its disk.

use std::sync::Arc;

use block::{Block, several};
use model::error::ErrorKind;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::select::{SelectError, SelectRequest, SeriesSet};
use model::tenant::TenantId;
use wire::service::{BlockReadService, LookupRequest};

use crate::Ingester;

impl Ingester {
    fn local_block(&self, tenant: &TenantId, id: &str) -> Option<Arc<Block>> {
        self.shipper.get()?.local.committed(tenant, id)
    }

    fn local_blocks(
        &self,
        tenant: &TenantId,
        ids: &[String],
    ) -> Result<Vec<Arc<Block>>, SelectError> {
        let find = |id: &String| {
            self.local_block(tenant, id).ok_or_else(|| SelectError {
                kind: ErrorKind::NotFound,
                message: format!("block {id} of tenant {tenant} is not on this disk any more"),
            })
        };
        ids.iter().map(find).collect()
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
        several::select(&self.local_blocks(tenant, blocks)?, request)
    }

    fn series(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<Labels>, SelectError> {
        let blocks = self.local_blocks(tenant, blocks)?;
        several::series(&blocks, &request.matcher_sets, &request.bounds)
    }

    fn label_names(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let blocks = self.local_blocks(tenant, blocks)?;
        several::label_names(&blocks, &request.matcher_sets, &request.bounds)
    }

    fn label_values(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        name: &str,
        request: &LookupRequest,
    ) -> Result<Vec<String>, SelectError> {
        let blocks = self.local_blocks(tenant, blocks)?;
        several::label_values(&blocks, name, &request.matcher_sets, &request.bounds)
    }

    fn exemplars(
        &self,
        tenant: &TenantId,
        blocks: &[String],
        request: &LookupRequest,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let blocks = self.local_blocks(tenant, blocks)?;
        several::exemplars(
            &blocks,
            &request.matcher_sets,
            request.range,
            &request.bounds,
        )
    }
}
