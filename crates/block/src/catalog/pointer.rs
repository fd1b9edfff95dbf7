//! Which version of a catalog is the current one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use std::collections::HashMap;

use model::error::ErrorKind;
use model::tenant::TenantId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Names the bucket whose tenants all have their pointers here.
const COMPLETE: &str = "complete";

/// Points to one version of a tenant's catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// The version.
    pub version: u64,
    /// Its object's key in the bucket.
    pub object: String,
}

/// A pointer that can't be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("pointer {place}: {what}")]
pub struct PointerError {
    kind: ErrorKind,
    place: String,
    what: String,
}

impl PointerError {
    /// What kind of failure it is: `Corrupt` where it is there and makes no sense.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Keeps a pointer for each tenant, and changes it by compare-and-swap: a file here, a replicated
/// state machine in a cluster.
pub trait PointerStore: Send + Sync {
    /// The pointer of a tenant, if it has one.
    ///
    /// # Errors
    /// Where it can't be read.
    fn load(&self, tenant: &TenantId) -> Result<Option<Pointer>, PointerError>;

    /// Sets a tenant's pointer where its version is `expected` (0: there is none); says whether it
    /// was. Durable when it returns.
    ///
    /// # Errors
    /// Where it can't be written; the old one then still holds, or the new one does.
    fn swap(
        &self,
        tenant: &TenantId,
        expected: u64,
        pointer: &Pointer,
    ) -> Result<bool, PointerError>;

    /// Removes a tenant's pointer, so that a new one can be set.
    ///
    /// # Errors
    /// Where it can't be removed.
    fn clear(&self, tenant: &TenantId) -> Result<(), PointerError>;

    /// The tenants that have one.
    ///
    /// # Errors
    /// Where they can't be listed.
    fn tenants(&self) -> Result<Vec<TenantId>, PointerError>;
}

/// Pointers as files of a folder that belongs to this process.
pub struct LocalPointers {
    folder: PathBuf,
    known: Mutex<HashMap<TenantId, Option<Pointer>>>,
}

impl LocalPointers {
    /// The pointers in a folder, which is made where there is none.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn open(folder: &Path) -> Result<Self, PointerError> {
        fs::create_dir_all(folder).map_err(|error| fault(folder, &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            known: Mutex::default(),
        })
    }

    /// Whether there is none at all: a fresh folder.
    ///
    /// # Errors
    /// Where they can't be listed.
    pub fn is_empty(&self) -> Result<bool, PointerError> {
        Ok(self.tenants()?.is_empty())
    }

    /// Whether all tenants with blocks in a bucket have had their pointers here once.
    #[must_use]
    pub fn are_complete_for(&self, bucket: &str) -> bool {
        fs::read(self.folder.join(COMPLETE)).is_ok_and(|known| known == bucket.as_bytes())
    }

    /// Notes that they have.
    ///
    /// # Errors
    /// Where the note can't be written.
    pub fn set_complete_for(&self, bucket: &str) -> Result<(), PointerError> {
        let written = self.replace(COMPLETE, bucket.as_bytes());
        written.map_err(|error| fault(&self.folder.join(COMPLETE), &error))
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(format!("{tenant}.json"))
    }

    fn read(&self, tenant: &TenantId) -> Result<Option<Pointer>, PointerError> {
        let path = self.path(tenant);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| fault(&path, &error))?,
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| PointerError {
            kind: ErrorKind::Corrupt,
            place: path.display().to_string(),
            what: format!("{error}; `tidemark catalog rebuild` makes it anew from the blocks"),
        })
    }

    fn write(&self, tenant: &TenantId, pointer: &Pointer) -> io::Result<()> {
        self.replace(&format!("{tenant}.json"), &serde_json::to_vec(pointer)?)
    }

    /// Writes a file as a whole, or not at all.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.folder.join(format!("{name}.part"));
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, self.folder.join(name))?;
        File::open(&self.folder)?.sync_all()
    }
}

fn fault(path: &Path, error: &io::Error) -> PointerError {
    PointerError {
        kind: ErrorKind::Unavailable,
        place: path.display().to_string(),
        what: error.to_string(),
    }
}

impl PointerStore for LocalPointers {
    fn load(&self, tenant: &TenantId) -> Result<Option<Pointer>, PointerError> {
        let mut known = self.known.lock();
        if let Some(pointer) = known.get(tenant) {
            return Ok(pointer.clone());
        }
        let read = self.read(tenant)?;
        if read.is_some() {
            known.insert(tenant.clone(), read.clone());
        }
        Ok(read)
    }

    fn swap(
        &self,
        tenant: &TenantId,
        expected: u64,
        pointer: &Pointer,
    ) -> Result<bool, PointerError> {
        let mut known = self.known.lock();
        let current = self.read(tenant)?;
        if current.map_or(0, |current| current.version) != expected {
            known.remove(tenant);
            return Ok(false);
        }
        // After an error the file may be the old or the new one: it is read again.
        known.remove(tenant);
        self.write(tenant, pointer)
            .map_err(|error| fault(&self.path(tenant), &error))?;
        known.insert(tenant.clone(), Some(pointer.clone()));
        Ok(true)
    }

    fn clear(&self, tenant: &TenantId) -> Result<(), PointerError> {
        self.known.lock().remove(tenant);
        match fs::remove_file(self.path(tenant)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault(&self.path(tenant), &error))
            }
            _ => Ok(()),
        }
    }

    fn tenants(&self) -> Result<Vec<TenantId>, PointerError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| fault(&self.folder, &error))?;
        let mut tenants = Vec::new();
        for entry in entries {
            let name = entry
                .map_err(|error| fault(&self.folder, &error))?
                .file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            tenants.extend(name.and_then(|name| TenantId::new(name).ok()));
        }
        tenants.sort_unstable();
        Ok(tenants)
    }
}
