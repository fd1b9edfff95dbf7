//! The catalogs that are in memory.

use std::collections::HashMap;
use std::sync::Arc;

use model::tenant::TenantId;

use super::Catalog;

/// The most blocks that the catalogs in memory list together, but for one that alone has more: some
/// 2 KB each.
const MAX_BLOCKS: usize = 100_000;
/// A catalog weighs as much as so many blocks more, so that tenants with few are bounded too.
const OWN_WEIGHT: usize = 1;

/// Catalogs by tenant; the one that was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Known {
    catalogs: HashMap<TenantId, Held>,
    weight: usize,
    max_weight: usize,
    clock: u64,
}

#[derive(Debug)]
struct Held {
    catalog: Arc<Catalog>,
    used: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            catalogs: HashMap::new(),
            weight: 0,
            max_weight: MAX_BLOCKS,
            clock: 0,
        }
    }
}

fn weight(catalog: &Catalog) -> usize {
    catalog.blocks.len() + catalog.removed.len() + OWN_WEIGHT
}

impl Known {
    pub(super) fn get(&mut self, tenant: &TenantId) -> Option<Arc<Catalog>> {
        self.clock += 1;
        let held = self.catalogs.get_mut(tenant)?;
        held.used = self.clock;
        Some(Arc::clone(&held.catalog))
    }

    pub(super) fn hold(&mut self, tenant: &TenantId, catalog: &Arc<Catalog>) {
        self.clock += 1;
        let held = Held {
            catalog: Arc::clone(catalog),
            used: self.clock,
        };
        self.weight += weight(catalog);
        if let Some(before) = self.catalogs.insert(tenant.clone(), held) {
            self.weight -= weight(&before.catalog);
        }
        while self.weight > self.max_weight && self.catalogs.len() > 1 {
            let oldest = self.catalogs.iter().min_by_key(|(_, held)| held.used);
            let Some(tenant) = oldest.map(|(tenant, _)| tenant.clone()) else {
                return;
            };
            if let Some(gone) = self.catalogs.remove(&tenant) {
                self.weight -= weight(&gone.catalog);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Removed;
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut known = Known {
            max_weight: 20,
            ..Known::default()
        };
        let tenants = ["a", "b", "c", "d"].map(|name| TenantId::new(name).unwrap());
        let of = |blocks: usize| {
            let removed = (0..blocks).map(|i| Removed {
                id: i.to_string(),
                at_ms: 0,
            });
            Arc::new(Catalog {
                removed: removed.collect(),
                ..Catalog::default()
            })
        };
        known.hold(&tenants[0], &of(7));
        known.hold(&tenants[1], &of(7));
        assert!(known.get(&tenants[0]).is_some());
        known.hold(&tenants[2], &of(7));
        let held = |known: &mut Known| tenants.each_ref().map(|one| known.get(one).is_some());
        assert_eq!(held(&mut known), [true, false, true, false]);
        // A new version takes the place of the old one.
        known.hold(&tenants[0], &of(9));
        assert_eq!(known.weight, 18);
        // One that is larger than all that may be held is held alone.
        known.hold(&tenants[3], &of(30));
        assert_eq!(held(&mut known), [false, false, false, true]);
    }
}
