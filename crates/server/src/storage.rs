//! Opens what all roles share: the bucket, and the catalogs of the blocks in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use block::bucket::{Bucket, BucketConfig, BucketError};
use block::catalog::{Catalogs, LocalPointers, Random, Rebuilt};
use model::asker;
use model::error::ErrorKind;
use model::quantity::DurationMs;
use model::tenant::TenantId;
use model::time::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, StorageConfig};

/// How long the first look at the bucket may take.
const PROBE_TIMEOUT: DurationMs = DurationMs(5_000);
/// How long a start waits for the look through the bucket; it goes on behind it.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How long after a bucket was out of reach it is looked through again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The bucket of a configuration: without a URL, a folder in the data directory.
pub(crate) fn bucket_config(storage: &StorageConfig) -> BucketConfig {
    let mut config = storage.bucket.clone();
    if config.url.is_empty() {
        config.url = BucketConfig::folder(&storage.data_dir.join("bucket")).url;
    }
    config
}

/// The settings of the store-gateway.
pub(crate) fn gateway_config(config: &Config) -> store_gateway::Config {
    let mut gateway = config.store_gateway.clone();
    if gateway.cache_dir.as_os_str().is_empty() {
        gateway.cache_dir = config.storage.data_dir.join("cache");
    }
    gateway
}

/// The catalogs, and what there may be left to learn from the bucket.
pub(crate) struct Opened {
    pub(crate) catalogs: Arc<Catalogs>,
    pointers: Arc<LocalPointers>,
    /// Whether the bucket was looked through for tenants without a pointer on this machine.
    looked: bool,
    /// Whether it is to be looked through at once.
    goes_on: bool,
}

/// Opens the bucket and the catalogs. Those of tenants that have blocks in the bucket and no pointer
/// on this machine are made anew: here what takes no time to speak of, the rest by
/// [`Opened::look_until_done`].
///
/// # Errors
/// Where the bucket does not exist, denies access, or makes no sense. One that is out of reach now
/// is no error: writes are taken meanwhile.
pub(crate) fn open(
    storage: &StorageConfig,
    clock: &Arc<dyn Clock>,
    random: Random,
) -> anyhow::Result<Opened> {
    let config = bucket_config(storage);
    let reachable = probe(&config, random())?;
    let bucket = Bucket::open(&config)?;
    let pointers = Arc::new(LocalPointers::open(&storage.data_dir.join("catalog"))?);
    let complete = pointers.are_complete_for(bucket.describe());
    let catalogs = Catalogs::new(
        bucket,
        Arc::clone(&pointers) as _,
        Arc::clone(clock),
        random,
    );
    catalogs.set_complete(complete);
    let mut opened = Opened {
        catalogs: Arc::new(catalogs),
        pointers,
        looked: false,
        goes_on: reachable,
    };
    if reachable {
        let began = Instant::now();
        let is_long = move || began.elapsed() >= FIRST_LOOK;
        opened.looked = asker::work_for(Some(Arc::new(is_long)), || opened.look());
        opened.goes_on = is_long();
    }
    Ok(opened)
}

impl Opened {
    /// Looks through the bucket until that succeeds, if it is not done.
    pub(crate) async fn look_until_done(self, stop: CancellationToken) {
        let opened = Arc::new(self);
        let mut looked = opened.looked;
        let mut pause = if opened.goes_on {
            Duration::ZERO
        } else {
            LOOK_AGAIN
        };
        while !looked {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LOOK_AGAIN;
            let (opened, stop) = (Arc::clone(&opened), stop.clone());
            let stopped = Arc::new(move || stop.is_cancelled());
            let look = move || asker::work_for(Some(stopped), || opened.look());
            looked = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        }
    }

    /// Looks through the bucket for tenants without a pointer here; says whether all was seen.
    fn look(&self) -> bool {
        let bucket = self.catalogs.bucket().describe();
        let found = rebuild_missing(&self.catalogs);
        let noted = found.and_then(|()| Ok(self.pointers.set_complete_for(bucket)?));
        if noted.is_err() && asker::has_gone() {
            tracing::info!(
                bucket,
                "the bucket has many blocks that no catalog on this machine names: it is looked \
                 through while the process goes on, queries of their tenants get 503 until then"
            );
            return false;
        }
        if let Err(error) = noted {
            tracing::error!(
                bucket,
                error = format!("{error:#}"),
                "the bucket can't be looked through for blocks yet: tenants without a catalog on \
                 this machine can't be queried"
            );
            return false;
        }
        self.catalogs.set_complete(true);
        true
    }
}

/// The catalogs of a bucket whose pointers lie in a data directory.
pub(crate) fn catalogs(
    data_dir: &Path,
    bucket: Arc<Bucket>,
    clock: &Arc<dyn Clock>,
    random: Random,
) -> anyhow::Result<Arc<Catalogs>> {
    let pointers = LocalPointers::open(&data_dir.join("catalog"))?;
    Ok(Arc::new(Catalogs::new(
        bucket,
        Arc::new(pointers),
        Arc::clone(clock),
        random,
    )))
}

/// Looks whether the bucket can be written to; says whether it is in reach.
fn probe(config: &BucketConfig, number: u64) -> anyhow::Result<bool> {
    let quick = BucketConfig {
        timeout: PROBE_TIMEOUT.min(config.timeout),
        max_retries: 0,
        ..config.clone()
    };
    let bucket = Bucket::open(&quick)?;
    match bucket.check(&format!("{number:016x}")) {
        Ok(()) => {
            tracing::info!(bucket = bucket.describe(), "blocks go to object storage");
            Ok(true)
        }
        Err(error)
            if error.is_denied()
                || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) =>
        {
            let place = bucket.describe().to_owned();
            Err(error).with_context(|| {
                format!("the bucket {place} can't be used: make it, or mend storage.bucket")
            })
        }
        Err(error) => {
            tracing::error!(
                bucket = bucket.describe(),
                %error,
                "the bucket is out of reach: samples stay on this disk until it is back"
            );
            Ok(false)
        }
    }
}

/// Makes the catalogs of tenants anew that have a folder in the bucket and no pointer here: of all of
/// them on a new machine, of the rest where an earlier start did not get to its end. And of those
/// whose pointer here is older than what is in the bucket. One that fails does not keep the others
/// from theirs.
///
/// # Errors
/// Where the bucket can't be listed, or a catalog can't be made.
fn rebuild_missing(catalogs: &Catalogs) -> anyhow::Result<()> {
    let known = catalogs.tenants()?;
    let mut failed = Ok(());
    for tenant in catalogs.tenants_in_bucket()? {
        asker::go_on()?;
        let rebuilt = match known.contains(&tenant) {
            true => rebuild_behind(catalogs, &tenant),
            false => rebuild_one(catalogs, &tenant),
        };
        if let Err(error) = rebuilt {
            if asker::has_gone() {
                return Err(error);
            }
            tracing::error!(%tenant, error = format!("{error:#}"), "no catalog can be made now");
            failed = failed.and(Err(error));
        }
    }
    failed
}

/// Makes the catalog of a tenant anew that is older here than in the bucket.
fn rebuild_behind(catalogs: &Catalogs, tenant: &TenantId) -> anyhow::Result<()> {
    if !catalogs.is_behind(tenant)? {
        return Ok(());
    }
    tracing::error!(
        %tenant,
        "the catalog of the tenant on this machine is older than that in the bucket, as after its \
         data directory was put back from a copy: it is made anew from the blocks"
    );
    tell(tenant, &catalogs.rebuild(tenant)?);
    Ok(())
}

/// Makes the catalog of a tenant anew that had none at the last look.
fn rebuild_one(catalogs: &Catalogs, tenant: &TenantId) -> anyhow::Result<()> {
    if !has_blocks(catalogs, tenant)? {
        return Ok(());
    }
    tracing::info!(%tenant, "there is no catalog here: it is made of the blocks in the bucket");
    // A first block may have been committed since.
    let Some(rebuilt) = catalogs.rebuild_missing(tenant)? else {
        return Ok(());
    };
    tell(tenant, &rebuilt);
    Ok(())
}

fn tell(tenant: &TenantId, rebuilt: &Rebuilt) {
    tracing::warn!(
        %tenant,
        blocks = rebuilt.blocks,
        unreadable = rebuilt.unreadable.len(),
        "a catalog was made anew from the blocks in the bucket"
    );
    for one in &rebuilt.unreadable {
        tracing::error!(%tenant, block = one.block, "left out of the catalog: {}", one.what);
    }
}

/// Whether a folder of the bucket is a tenant's: one of somebody else's is left alone.
pub(crate) fn has_blocks(catalogs: &Catalogs, tenant: &TenantId) -> Result<bool, BucketError> {
    let folders = catalogs
        .bucket()
        .list_folders(&format!("{tenant}/blocks"))?;
    Ok(!folders.is_empty())
}

/// What is asked before each step of shipping. In builds for tests, `TIDEMARK_ABORT_AT` names the
/// step before which the process aborts, as by a power cut.
#[cfg(debug_assertions)]
pub(crate) fn steps() -> ingester::Steps {
    let Ok(wanted) = std::env::var("TIDEMARK_ABORT_AT") else {
        return ingester::Steps::default();
    };
    ingester::Steps::asking(move |step| {
        if format!("{step:?}").eq_ignore_ascii_case(&wanted) {
            tracing::error!(?step, "aborting, as TIDEMARK_ABORT_AT asks for");
            std::process::abort();
        }
        Ok(())
    })
}

/// What is asked before each step of shipping: nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn steps() -> ingester::Steps {
    ingester::Steps::default()
}
