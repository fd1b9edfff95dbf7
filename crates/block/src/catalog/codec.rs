//! A version of a catalog as an object: JSON under a checksum.

use bytes::Bytes;
use model::tenant::TenantId;
use xxhash_rust::xxh3::xxh3_64;

use super::{Catalog, CatalogError, Pointer};
use crate::bucket::Bucket;
use crate::meta::hex;

/// The version of the format that is written.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The longest object that is read, in bytes: some hundred thousand blocks.
const MAX_CATALOG_BYTES: u64 = 256 << 20;

/// The folder of a tenant's versions.
pub(super) fn folder(tenant: &TenantId) -> String {
    format!("{tenant}/catalog")
}

/// Writes a version; says what points to it.
pub(super) fn write(
    bucket: &Bucket,
    tenant: &TenantId,
    id: &str,
    mut catalog: Catalog,
) -> Result<(Catalog, Pointer), CatalogError> {
    let object = format!("{}/{:020}-{id}.json", folder(tenant), catalog.version);
    catalog.format_version = FORMAT_VERSION;
    catalog.tenant = tenant.to_string();
    let bytes = seal(&mut catalog).map_err(|error| CatalogError::Damaged {
        tenant: tenant.clone(),
        object: object.clone(),
        what: error.to_string(),
    })?;
    bucket
        .put(&object, Bytes::from(bytes))
        .map_err(|error| CatalogError::Bucket {
            tenant: tenant.clone(),
            error,
        })?;
    let pointer = Pointer {
        version: catalog.version,
        object,
    };
    Ok((catalog, pointer))
}

/// Reads the version that is pointed to.
pub(super) fn read(
    bucket: &Bucket,
    tenant: &TenantId,
    pointer: &Pointer,
) -> Result<Catalog, CatalogError> {
    let bytes = bucket
        .get(&pointer.object, MAX_CATALOG_BYTES)
        .map_err(|error| CatalogError::Bucket {
            tenant: tenant.clone(),
            error,
        })?;
    parse(&bytes)
        .and_then(|catalog| {
            let same = catalog.version == pointer.version && catalog.tenant == tenant.as_str();
            same.then_some(catalog).ok_or_else(|| {
                "it is another version, or another tenant's, than the pointer says".to_owned()
            })
        })
        .map_err(|what| CatalogError::Damaged {
            tenant: tenant.clone(),
            object: pointer.object.clone(),
            what,
        })
}

/// The document's bytes, with its checksum.
fn seal(catalog: &mut Catalog) -> serde_json::Result<Vec<u8>> {
    catalog.checksum = String::new();
    catalog.checksum = hex(xxh3_64(&serde_json::to_vec(catalog)?));
    serde_json::to_vec(catalog)
}

/// Reads and checks a document.
pub(super) fn parse(bytes: &[u8]) -> Result<Catalog, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u32,
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version.format_version != FORMAT_VERSION {
        return Err(format!(
            "format version {} is not known, the newest known is {FORMAT_VERSION}",
            version.format_version
        ));
    }
    let catalog: Catalog = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut sealed = catalog.clone();
    if seal(&mut sealed).map_err(|error| error.to_string())? != bytes {
        return Err("it does not fit its checksum".to_owned());
    }
    Ok(catalog)
}
