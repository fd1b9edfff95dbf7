//! The ingester as the write path sees it.

use model::limits::Limits;
use model::tenant::TenantId;
use model::write::{WriteBatch, WriteOutcome};
use tsdb::store::AppendError;
use tsdb::wal::CommitError;
use wire::remote_write::RawLabels;
use wire::service::{IngestService, ServiceError};

use crate::Ingester;

impl IngestService for Ingester {
    fn push(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        batch: &WriteBatch<RawLabels<'_>>,
    ) -> Result<WriteOutcome, ServiceError> {
        let appended = self.store()?.append(tenant, limits, batch);
        appended.map_err(|error| ServiceError {
            kind: error.kind(),
            id: id_of(&error),
            message: error.to_string(),
        })
    }
}

fn id_of(error: &AppendError) -> &'static str {
    match error {
        AppendError::Closed => "shutting-down",
        AppendError::ChunksBehind { .. } => "chunk-files-behind",
        AppendError::TooManyTenants { .. } => "too-many-tenants",
        AppendError::Log { error, .. } => match error {
            CommitError::DiskFull { .. } => "disk-full",
            CommitError::Busy { .. } => "log-busy",
            CommitError::TooLarge { .. } => "record-too-large",
            CommitError::Failed => "log-failed",
        },
    }
}
