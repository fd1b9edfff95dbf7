//! Blocks in the bucket that turned out damaged, twice within a minute: they are not read again for
//! a while, and reads that need them are told why. Once may be a bucket that answered badly, as may
//! all that one query comes to in a moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::error::ErrorKind;
use model::select::SelectError;
use model::tenant::TenantId;
use model::time::TimestampMs;
use parking_lot::Mutex;

/// How long a damaged block is not read, in milliseconds: somebody may have put it right.
const RETRY_MS: i64 = 600_000;
/// Damage counts again so much later, in milliseconds: what comes before may be of the same query.
const AGAIN_MS: i64 = 1_000;
/// How long damage that was seen once is remembered, in milliseconds.
const ONCE_MS: i64 = 60_000;
/// Blocks that are remembered at most; one beyond is read, and found damaged, each time.
const MAX_BLOCKS: usize = 10_000;

/// The damaged blocks.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(Mutex<HashMap<(TenantId, String), Damage>>);

#[derive(Debug)]
struct Damage {
    what: String,
    first_ms: TimestampMs,
    is_believed: bool,
    until_ms: TimestampMs,
}

impl Quarantine {
    /// Fails where a block is known to be damaged.
    pub(crate) fn check(
        &self,
        tenant: &TenantId,
        block: &str,
        now: TimestampMs,
    ) -> Result<(), SelectError> {
        let mut blocks = self.0.lock();
        if blocks.is_empty() {
            return Ok(());
        }
        let key = (tenant.clone(), block.to_owned());
        let Some(damage) = blocks.get(&key) else {
            return Ok(());
        };
        // A clock that was set back does not keep it here for long.
        if !(0..=RETRY_MS).contains(&damage.until_ms.saturating_sub(now)) {
            blocks.remove(&key);
            return Ok(());
        }
        if !damage.is_believed {
            return Ok(());
        }
        Err(SelectError {
            kind: ErrorKind::Corrupt,
            message: format!(
                "{}; block {block} of tenant {tenant} is not read again for up to {} minutes: put its \
                 file back from a copy (`tidemark bucket verify {block}` checks it), or take it out \
                 with `tidemark bucket remove {block}` while the server is stopped",
                damage.what,
                RETRY_MS / 60_000
            ),
        })
    }

    /// Notes what is wrong with a block.
    pub(crate) fn add(&self, tenant: &TenantId, block: &str, what: &str, now: TimestampMs) {
        let mut blocks = self.0.lock();
        blocks.retain(|_, damage| damage.until_ms >= now);
        let is_full = blocks.len() >= MAX_BLOCKS;
        let damage = match blocks.entry((tenant.clone(), block.to_owned())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(new) => new.insert(Damage {
                what: what.to_owned(),
                first_ms: now,
                is_believed: false,
                until_ms: now.saturating_add(ONCE_MS),
            }),
        };
        if !damage.is_believed && now.saturating_sub(damage.first_ms) >= AGAIN_MS {
            damage.is_believed = true;
            damage.until_ms = now.saturating_add(RETRY_MS);
            tracing::error!(
                %tenant,
                block,
                what,
                "a block in the bucket is damaged: queries of its time fail, or go on without it \
                 where limits.partial_answers is set; put its file back from a copy, or take it out \
                 with `tidemark bucket remove`"
            );
        }
    }

    /// How many blocks are not read.
    pub(crate) fn len(&self, now: TimestampMs) -> usize {
        let blocks = self.0.lock();
        let is_held = |damage: &&Damage| damage.is_believed && damage.until_ms >= now;
        blocks.values().filter(is_held).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_begin_when_damage_is_believed() {
        let tenant = TenantId::anonymous();
        let quarantine = Quarantine::default();
        let is_held = |now| quarantine.check(&tenant, "b", now).is_err();
        let add = |now| quarantine.add(&tenant, "b", "it burnt", now);
        // A query in parts comes to it in each of them.
        add(0);
        add(AGAIN_MS - 1);
        assert!(!is_held(AGAIN_MS - 1));
        let second = ONCE_MS;
        add(second);
        assert!(is_held(second + RETRY_MS));
        assert_eq!(quarantine.len(second + RETRY_MS), 1);
        assert_eq!(quarantine.len(second + RETRY_MS + 1), 0);
        assert!(!is_held(second + RETRY_MS + 1));
        // What was seen once, long ago, does not count.
        add(10 * RETRY_MS);
        add(10 * RETRY_MS + ONCE_MS + 1);
        assert!(!is_held(10 * RETRY_MS + ONCE_MS + 2));
    }
}
