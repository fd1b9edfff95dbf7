//! A bound on the bytes that all requests of the process hold of one kind: forms being read,
//! answers being sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in steps of so many, as a semaphore hands out 32-bit numbers of permits.
const UNIT: usize = 1 << 10;

/// Hands out bytes until there are none left.
#[derive(Clone, Debug)]
pub struct ByteGate {
    units: Arc<Semaphore>,
}

/// Bytes held; given back when dropped.
#[derive(Debug)]
pub struct HeldBytes {
    gate: ByteGate,
    permit: Option<OwnedSemaphorePermit>,
}

/// The bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no bytes are left under the bound")]
pub struct Full;

impl ByteGate {
    /// A bound of so many bytes, rounded up to KiB.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        let units = Arc::new(Semaphore::new(units));
        Self { units }
    }

    /// Nothing yet, to be grown.
    pub fn hold(&self) -> HeldBytes {
        HeldBytes {
            gate: self.clone(),
            permit: None,
        }
    }

    /// Bytes that are free.
    pub fn free(&self) -> usize {
        self.units.available_permits() * UNIT
    }
}

impl HeldBytes {
    /// Holds `bytes` altogether, more or less than before; steps of a KiB are rounded up.
    ///
    /// # Errors
    /// Where so many aren't free; what was held stays held.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Full> {
        let wanted = bytes.div_ceil(UNIT);
        let held = self.permit.as_ref().map_or(0, |p| p.num_permits());
        if wanted > held {
            let more = u32::try_from(wanted - held).map_err(|_| Full)?;
            let units = Arc::clone(&self.gate.units);
            let more = units.try_acquire_many_owned(more).map_err(|_| Full)?;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        } else if let Some(permit) = &mut self.permit {
            drop(permit.split(held - wanted));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_and_given_back() {
        let gate = ByteGate::new(10_000);
        assert_eq!(gate.free(), 10 << 10);
        let (mut one, mut other) = (gate.hold(), gate.hold());
        one.resize(6 << 10).unwrap();
        assert_eq!(other.resize(5 << 10), Err(Full));
        one.resize(1).unwrap();
        assert_eq!(gate.free(), 9 << 10);
        other.resize(9 << 10).unwrap();
        assert_eq!(one.resize(usize::MAX), Err(Full));
        drop(other);
        assert_eq!(gate.free(), 9 << 10);
        one.resize(0).unwrap();
        assert_eq!(gate.free(), 10 << 10);
    }
}
