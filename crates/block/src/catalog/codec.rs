//! A version of a catalog as an object: JSON under a checksum; and its parts.

use std::sync::Arc;

use bytes::Bytes;
use model::error::ErrorKind;
use model::tenant::TenantId;
use model::time::TimestampMs;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{BlockEntry, Catalog, CatalogError, Part, Pointer, parts};
use crate::bucket::{Bucket, BucketError};
use crate::meta::hex;
use crate::ulid;

/// The version of the format of a catalog without parts.
const WHOLE: u32 = 1;
/// The version of the format of one with parts.
const IN_PARTS: u32 = 2;
/// The longest object that is read, in bytes: some hundred thousand blocks.
const MAX_CATALOG_BYTES: u64 = 256 << 20;
/// The most parts of a catalog: eight hundred years.
const MAX_PARTS: usize = 10_000;

/// What can't be read: one that is gone or too long will be so a moment later.
fn unread(tenant: &TenantId, object: &str) -> impl Fn(BucketError) -> CatalogError {
    |error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Invalid => damaged(tenant, object, error),
        _ => failed(tenant)(error),
    }
}

/// How large what is written may be: no larger than what is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) object_bytes: u64,
    pub(super) parts: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            object_bytes: MAX_CATALOG_BYTES,
            parts: MAX_PARTS,
        }
    }
}

impl Bounds {
    /// Refuses what no reader would take: it must not become current.
    fn check(self, tenant: &TenantId, bytes: usize, parts: usize) -> Result<(), CatalogError> {
        let what = if parts > self.parts {
            format!("{parts} parts, more than the {} (MAX_PARTS)", self.parts)
        } else if bytes as u64 > self.object_bytes {
            let most = self.object_bytes;
            format!("an object of {bytes} bytes, more than the {most} (MAX_CATALOG_BYTES)")
        } else {
            return Ok(());
        };
        Err(CatalogError::TooLarge {
            tenant: tenant.clone(),
            what,
        })
    }
}

/// What the object of a part has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartDocument {
    format_version: u32,
    tenant: String,
    blocks: Vec<Arc<BlockEntry>>,
}

/// The folder of a tenant's versions.
pub(super) fn folder(tenant: &TenantId) -> String {
    format!("{tenant}/catalog")
}

/// The key of a version.
pub(super) fn object(tenant: &TenantId, version: u64, id: &str) -> String {
    format!("{}/{version:020}-{id}.json", folder(tenant))
}

/// The number of a version, by its key; `None`: it is the key of something else.
pub(super) fn version_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?.strip_suffix(".json")?;
    let (version, id) = name.split_once('-')?;
    let digits = version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit());
    ulid::time_ms(id)?;
    version.parse().ok().filter(|_| digits)
}

fn damaged(tenant: &TenantId, object: &str, what: impl ToString) -> CatalogError {
    CatalogError::Damaged {
        tenant: tenant.clone(),
        object: object.to_owned(),
        what: what.to_string(),
    }
}

fn failed(tenant: &TenantId) -> impl Fn(BucketError) -> CatalogError {
    |error| CatalogError::Bucket {
        tenant: tenant.clone(),
        error,
    }
}

/// Writes a part, unless it is larger than those that are read.
pub(super) fn write_part(
    bucket: &Bucket,
    bounds: Bounds,
    tenant: &TenantId,
    id: &str,
    start_ms: TimestampMs,
    blocks: &[Arc<BlockEntry>],
) -> Result<Part, CatalogError> {
    let object = format!("{}/parts/{id}.json", folder(tenant));
    let document = PartDocument {
        format_version: IN_PARTS,
        tenant: tenant.to_string(),
        blocks: blocks.to_vec(),
    };
    let bytes = serde_json::to_vec(&document).map_err(|error| damaged(tenant, &object, error))?;
    bounds.check(tenant, bytes.len(), 1)?;
    let part = Part {
        start_ms,
        bytes: bytes.len() as u64,
        checksum: hex(xxh3_64(&bytes)),
        object,
    };
    bucket
        .put(&part.object, Bytes::from(bytes))
        .map_err(failed(tenant))?;
    Ok(part)
}

/// Writes a version whose parts are written, unless it is larger than those that are read; says what
/// points to it. Its object lists only its own blocks.
pub(super) fn write(
    bucket: &Bucket,
    bounds: Bounds,
    tenant: &TenantId,
    object: String,
    catalog: &mut Catalog,
    own: usize,
) -> Result<Pointer, CatalogError> {
    catalog.format_version = if catalog.parts.is_empty() {
        WHOLE
    } else {
        IN_PARTS
    };
    let mut document = Catalog {
        blocks: catalog.blocks[catalog.blocks.len() - own..].to_vec(),
        parts: catalog.parts.clone(),
        removed: catalog.removed.clone(),
        tenant: catalog.tenant.clone(),
        checksum: String::new(),
        ..*catalog
    };
    let bytes = seal(&mut document).map_err(|error| damaged(tenant, &object, error))?;
    bounds.check(tenant, bytes.len(), document.parts.len())?;
    catalog.checksum = document.checksum;
    bucket
        .put(&object, Bytes::from(bytes))
        .map_err(failed(tenant))?;
    Ok(Pointer {
        version: catalog.version,
        object,
    })
}

/// Reads the version that is pointed to, and those of its parts that a version before did not have.
pub(super) fn read(
    bucket: &Bucket,
    tenant: &TenantId,
    pointer: &Pointer,
    known: Option<&Catalog>,
) -> Result<Catalog, CatalogError> {
    let mut catalog = read_own(bucket, tenant, &pointer.object)?;
    if catalog.version != pointer.version {
        let what = "it is another version than the pointer says";
        return Err(damaged(tenant, &pointer.object, what));
    }
    let mut blocks = Vec::new();
    for part in &catalog.parts {
        let known = known.filter(|known| known.parts.contains(part));
        match known {
            Some(known) => blocks.extend_from_slice(parts::of_span(known, part.start_ms)),
            None => blocks.extend(read_part(bucket, tenant, part)?),
        }
    }
    blocks.append(&mut catalog.blocks);
    catalog.blocks = blocks;
    catalog.sort();
    Ok(catalog)
}

/// Reads a version's own object.
pub(super) fn read_own(
    bucket: &Bucket,
    tenant: &TenantId,
    object: &str,
) -> Result<Catalog, CatalogError> {
    let bytes = bucket
        .get(object, MAX_CATALOG_BYTES)
        .map_err(unread(tenant, object))?;
    let catalog = parse(&bytes).map_err(|what| damaged(tenant, object, what))?;
    if catalog.tenant != tenant.as_str() {
        return Err(damaged(tenant, object, "it is another tenant's"));
    }
    Ok(catalog)
}

fn read_part(
    bucket: &Bucket,
    tenant: &TenantId,
    part: &Part,
) -> Result<Vec<Arc<BlockEntry>>, CatalogError> {
    let wrong = |what: String| damaged(tenant, &part.object, what);
    let bytes = bucket
        .get(&part.object, MAX_CATALOG_BYTES)
        .map_err(unread(tenant, &part.object))?;
    if bytes.len() as u64 != part.bytes || hex(xxh3_64(&bytes)) != part.checksum {
        return Err(wrong("it does not fit its checksum".to_owned()));
    }
    let document: PartDocument =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if document.format_version != IN_PARTS {
        return Err(wrong(unknown(document.format_version)));
    }
    let fits = |block: &Arc<BlockEntry>| parts::span_of(block) == part.start_ms;
    if document.tenant != tenant.as_str() || !document.blocks.iter().all(fits) {
        let what = "it is another tenant's, or of another time, than the version says";
        return Err(wrong(what.to_owned()));
    }
    Ok(document.blocks)
}

fn unknown(version: u32) -> String {
    format!("format version {version} is not known, the newest known is {IN_PARTS}")
}

/// The document's bytes, with its checksum.
fn seal(catalog: &mut Catalog) -> serde_json::Result<Vec<u8>> {
    catalog.checksum = String::new();
    catalog.checksum = hex(xxh3_64(&serde_json::to_vec(catalog)?));
    serde_json::to_vec(catalog)
}

/// Reads and checks a document.
fn parse(bytes: &[u8]) -> Result<Catalog, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u32,
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if ![WHOLE, IN_PARTS].contains(&version.format_version) {
        return Err(unknown(version.format_version));
    }
    let catalog: Catalog = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut sealed = catalog.clone();
    if seal(&mut sealed).map_err(|error| error.to_string())? != bytes {
        return Err("it does not fit its checksum".to_owned());
    }
    let in_parts = catalog.format_version == IN_PARTS;
    if in_parts == catalog.parts.is_empty() || catalog.parts.len() > MAX_PARTS {
        let parts = catalog.parts.len();
        return Err(format!("{parts} parts do not fit its format version"));
    }
    Ok(catalog)
}
