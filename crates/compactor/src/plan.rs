//! What is to be done for a tenant, decided from what the catalog says and what lies in the bucket.
//! Pure: nothing is asked and nothing is changed here.

use std::collections::HashSet;

use block::BlockMeta;
use block::catalog::Catalog;
use block::ulid;
use model::time::TimestampMs;

use crate::steady::Now;

/// How many versions of a catalog are kept, however old, so that there is one to go back to.
const KEPT_VERSIONS: u64 = 10;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How far back the tenant's samples are kept, in milliseconds.
    pub(crate) kept_ms: i64,
    /// How long after that what nobody needs any more is still there, in milliseconds.
    pub(crate) deletion_delay_ms: i64,
}

/// What lies in the bucket for a tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// The names of the folders for blocks.
    pub(crate) blocks: Vec<String>,
    /// The names of the objects in the folder for catalogs.
    pub(crate) catalogs: Vec<String>,
    /// The keys of the parts of catalogs.
    pub(crate) parts: Vec<String>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Remove a block from the catalog: retention is over.
    Expire(String),
    /// Delete the files of a block that was removed.
    Delete(String),
    /// Delete the files of a folder that the catalog does not know, if a look at them shows that
    /// nobody is writing it, and that nothing is lost with it.
    DeleteOrphan(String),
    /// Delete an old version of the catalog, by the name of its object.
    DeleteVersion(String),
    /// Delete a part of old catalogs, by its key, unless a version that is kept names it.
    DeletePart(String),
}

/// What is to be done, in order. A block that the catalog lists is never deleted, whatever time it
/// is: it is removed from the catalog first, and has the delay before it from then on. What could
/// be lost for good takes a time that is proven.
pub(crate) fn plan(catalog: &Catalog, listing: &Listing, rules: Rules, now: Now) -> Vec<Action> {
    let is_old = |at: TimestampMs| at <= now.clock.saturating_sub(rules.deletion_delay_ms);
    let mut actions = Vec::new();
    for block in expired(catalog, rules, now.proven) {
        actions.push(Action::Expire(block.to_owned()));
    }
    let removed = catalog.removed.iter();
    for removed in removed.filter(|removed| is_old(removed.at_ms)) {
        actions.push(Action::Delete(removed.id.clone()));
    }
    let known = known(catalog);
    for folder in &listing.blocks {
        let made = ulid::time_ms(folder);
        if now.is_proven() && made.is_some_and(is_old) && !known.contains(folder.as_str()) {
            actions.push(Action::DeleteOrphan(folder.clone()));
        }
    }
    let versions = listing.catalogs.iter();
    let not_kept = versions.filter(|name| {
        let version = version_of(name);
        version.is_some_and(|(version, made)| !is_kept(catalog, version) && is_old(made))
    });
    actions.extend(not_kept.cloned().map(Action::DeleteVersion));
    for key in &listing.parts {
        let made = part_made(key);
        let is_named = || catalog.parts.iter().any(|part| part.object == *key);
        if now.is_proven() && made.is_some_and(is_old) && !is_named() {
            actions.push(Action::DeletePart(key.clone()));
        }
    }
    actions
}

/// Whether a version of a catalog is kept whatever its age.
fn is_kept(catalog: &Catalog, version: u64) -> bool {
    version >= catalog.version.saturating_sub(KEPT_VERSIONS)
}

/// The names of those versions that are kept whatever their age, but for the current one.
pub(crate) fn kept_before<'l>(
    catalog: &Catalog,
    listing: &'l Listing,
) -> impl Iterator<Item = &'l String> {
    let versions = listing.catalogs.iter();
    versions.filter(|name| {
        let version = version_of(name).map(|(version, _)| version);
        version.is_some_and(|version| version != catalog.version && is_kept(catalog, version))
    })
}

/// The blocks whose retention is over.
fn expired(catalog: &Catalog, rules: Rules, now: TimestampMs) -> impl Iterator<Item = &str> {
    let blocks = catalog.blocks.iter();
    blocks
        .filter(move |block| is_over(block.meta.max_time, rules, now))
        .map(|block| block.id())
}

/// All blocks that the catalog names, those it has removed as well.
pub(crate) fn known(catalog: &Catalog) -> HashSet<&str> {
    let blocks = catalog.blocks.iter().map(|block| block.id());
    let removed = catalog.removed.iter().map(|removed| removed.id.as_str());
    blocks.chain(removed).collect()
}

/// Whether a whole block that the catalog does not list can be deleted without loss: retention is
/// over, or all that it holds is in blocks that are listed. Anything else may be the only copy of
/// samples that were acknowledged, of a catalog that lost its memory or an upload that was never
/// committed.
pub(crate) fn is_needless(
    catalog: &Catalog,
    meta: &BlockMeta,
    rules: Rules,
    now: TimestampMs,
) -> bool {
    let sources = &meta.sources;
    let is_copy = !sources.is_empty() && sources.iter().all(|source| catalog.covers(source));
    is_copy || catalog.covers(&meta.block_id) || is_over(meta.max_time, rules, now)
}

/// Whether retention is over for what ends at a time.
fn is_over(end: TimestampMs, rules: Rules, now: TimestampMs) -> bool {
    rules.kept_ms < i64::MAX && end <= now.saturating_sub(rules.kept_ms)
}

/// Version and time of an object `<version, 20 digits>-<ulid>.json`; `None`: it is something else.
fn version_of(name: &str) -> Option<(u64, TimestampMs)> {
    let (version, ulid) = name.strip_suffix(".json")?.split_once('-')?;
    let digits = version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|_| digits)?;
    Some((version, ulid::time_ms(ulid)?))
}

/// When a part of catalogs was made, by its key `.../<ulid>.json`; `None`: it is something else.
fn part_made(key: &str) -> Option<TimestampMs> {
    ulid::time_ms(key.rsplit('/').next()?.strip_suffix(".json")?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use block::catalog::{BlockEntry, Part, Removed};

    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: i64 = 20_000 * DAY_MS;
    const RULES: Rules = Rules {
        kept_ms: 30 * DAY_MS,
        deletion_delay_ms: DAY_MS / 2,
    };

    /// A clock that is proven.
    fn at(now: TimestampMs) -> Now {
        Now {
            clock: now,
            proven: now,
        }
    }

    /// The id of a block that was made so many days ago.
    fn id(days_ago: i64, number: u128) -> String {
        ulid::new(NOW - days_ago * DAY_MS, number)
    }

    fn entry(id: String, ended_ms: i64) -> BlockEntry {
        let meta = BlockMeta {
            format_version: 1,
            tenant: "t".to_owned(),
            block_id: id,
            min_time: ended_ms - DAY_MS,
            max_time: ended_ms,
            slice_ms: 1,
            level: 0,
            sources: Vec::new(),
            promoted_labels: Vec::new(),
            statistics: block::meta::Statistics::default(),
            files: Vec::new(),
            checksum: String::new(),
        };
        BlockEntry {
            meta,
            metric_names: None,
        }
    }

    fn catalog(blocks: Vec<BlockEntry>, removed: Vec<Removed>) -> Catalog {
        Catalog {
            version: 30,
            blocks: blocks.into_iter().map(Arc::new).collect(),
            removed,
            ..Catalog::default()
        }
    }

    #[test]
    fn retention_ends_with_the_end_of_a_block() {
        let check = |ended_ms: i64, kept_ms: i64, over: bool| {
            let catalog = catalog(vec![entry(id(1, 0), ended_ms)], Vec::new());
            let rules = Rules { kept_ms, ..RULES };
            let actions = plan(&catalog, &Listing::default(), rules, at(NOW));
            let expected: Vec<Action> =
                over.then(|| Action::Expire(id(1, 0))).into_iter().collect();
            assert_eq!(actions, expected, "{ended_ms} {kept_ms}");
        };
        check(NOW - 30 * DAY_MS, 30 * DAY_MS, true);
        check(NOW - 30 * DAY_MS + 1, 30 * DAY_MS, false);
        check(NOW, 30 * DAY_MS, false);
        check(0, i64::MAX, false);
        check(i64::MIN + DAY_MS, i64::MAX, false);
        check(i64::MIN + DAY_MS, 1, true);
    }

    #[test]
    fn what_was_removed_is_deleted_after_the_delay() {
        let removed = |number, at_ms| Removed {
            id: id(90, number),
            at_ms,
        };
        let catalog = catalog(
            Vec::new(),
            vec![
                removed(1, NOW - DAY_MS / 2),
                removed(2, NOW - DAY_MS / 2 + 1),
            ],
        );
        let listing = Listing {
            blocks: vec![id(90, 1), id(90, 2)],
            ..Listing::default()
        };
        let actions = plan(&catalog, &listing, RULES, at(NOW));
        assert_eq!(actions, [Action::Delete(id(90, 1))]);
    }

    #[test]
    fn only_old_folders_that_nobody_names_are_orphans() {
        let listing = Listing {
            blocks: vec![id(0, 1), id(1, 2), id(1, 3), "readme".to_owned()],
            ..Listing::default()
        };
        let catalog = catalog(vec![entry(id(1, 3), NOW)], Vec::new());
        let actions = plan(&catalog, &listing, RULES, at(NOW));
        assert_eq!(actions, [Action::DeleteOrphan(id(1, 2))]);
        let unproven = Now {
            clock: NOW,
            proven: NOW - 1,
        };
        assert_eq!(plan(&catalog, &listing, RULES, unproven), []);
    }

    #[test]
    fn a_whole_block_goes_only_if_nothing_is_lost() {
        let with = |number, sources: &[u128], ended_ms| {
            let mut entry = entry(id(1, number), ended_ms);
            entry.meta.sources = sources.iter().map(|source| id(1, *source)).collect();
            entry
        };
        let catalog = catalog(vec![with(1, &[], NOW), with(5, &[3, 4], NOW)], Vec::new());
        let check = |number, sources: &[u128], ended_ms, needless: bool| {
            let meta = with(number, sources, ended_ms).meta;
            let found = is_needless(&catalog, &meta, RULES, NOW);
            assert_eq!(found, needless, "{number} of {sources:?}");
        };
        check(2, &[], NOW, false);
        check(3, &[], NOW, true);
        check(6, &[1, 3], NOW, true);
        check(6, &[1, 2], NOW, false);
        check(2, &[], NOW - 30 * DAY_MS, true);
    }

    #[test]
    fn versions_go_that_are_old_and_not_among_the_last() {
        let name = |version: u64, days_ago| format!("{version:020}-{}.json", id(days_ago, 0));
        let listing = Listing {
            blocks: Vec::new(),
            catalogs: vec![
                name(18, 1),
                name(19, 1),
                name(19, 0),
                name(20, 1),
                name(30, 1),
                name(31, 1),
                "20-x.json".to_owned(),
                "notes.txt".to_owned(),
            ],
            ..Listing::default()
        };
        let actions = plan(&catalog(Vec::new(), Vec::new()), &listing, RULES, at(NOW));
        let expected = [name(18, 1), name(19, 1)].map(Action::DeleteVersion);
        assert_eq!(actions, expected);
    }

    #[test]
    fn parts_go_that_are_old_and_that_the_current_version_does_not_name() {
        let key = |days_ago, number| format!("t/catalog/parts/{}.json", id(days_ago, number));
        let listing = Listing {
            parts: vec![
                key(1, 1),
                key(1, 2),
                key(0, 3),
                "t/catalog/parts/x".to_owned(),
            ],
            ..Listing::default()
        };
        let mut catalog = catalog(Vec::new(), Vec::new());
        catalog.parts.push(Part {
            start_ms: 0,
            object: key(1, 1),
            bytes: 1,
            checksum: String::new(),
        });
        let actions = plan(&catalog, &listing, RULES, at(NOW));
        assert_eq!(actions, [Action::DeletePart(key(1, 2))]);
        let unproven = Now {
            clock: NOW,
            proven: NOW - 1,
        };
        assert_eq!(plan(&catalog, &listing, RULES, unproven), []);
    }

    /// Whatever the clock shows, what the catalog lists is not deleted.
    #[test]
    fn a_clock_far_ahead_deletes_nothing_that_is_listed() {
        let blocks = vec![entry(id(1, 1), NOW), entry(id(0, 2), NOW)];
        let catalog = catalog(blocks, Vec::new());
        let listing = Listing {
            blocks: vec![id(1, 1), id(0, 2)],
            ..Listing::default()
        };
        for now in [NOW + 400 * DAY_MS, i64::MAX, i64::MIN] {
            let actions = plan(&catalog, &listing, RULES, at(now));
            let all_expire = actions.iter().all(|a| matches!(a, Action::Expire(_)));
            assert!(all_expire, "{actions:?}");
        }
    }
}
