//! The inverted index of one head: label pairs, interned, each with the series that carry it.
//!
//! A label pair (name and value) is interned once and named by a [`PairId`]; a series' labels
//! are a slice of them. Each pair holds its postings: the refs of its series, as a few inline
//! numbers or a roaring bitmap.

use std::cell::RefCell;

use hashbrown::HashTable;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher, Pattern};
use roaring::{MultiOps, RoaringBitmap};
use xxhash_rust::xxh3::xxh3_64;

/// The number of an interned label pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PairId(pub(crate) u32);

/// The number of an interned label name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NameId(u32);

/// Values looked at between two chances for a writer to get its turn.
const SCAN_BATCH: usize = 4096;

/// Label pairs and their postings.
#[derive(Default)]
pub struct LabelIndex {
    names: Vec<NameEntry>,
    name_ids: HashTable<u32>,
    pairs: Vec<PairEntry>,
    free: Vec<u32>,
    all: RoaringBitmap,
}

struct NameEntry {
    text: Box<str>,
    by_value: HashTable<u32>,
    /// The pairs of this name, in no order. Only grows while scans may run.
    pairs: Vec<u32>,
}

struct PairEntry {
    name: NameId,
    value: Box<str>,
    postings: Postings,
}

/// The series of one pair, ascending.
enum Postings {
    Few { len: u8, refs: [u32; 5] },
    Many(RoaringBitmap),
}

impl Postings {
    const EMPTY: Self = Self::Few {
        len: 0,
        refs: [0; 5],
    };

    fn push(&mut self, series_ref: u32) {
        match self {
            Self::Few { len, refs } => {
                if refs[..usize::from(*len)].contains(&series_ref) {
                    return;
                }
                if let Some(free) = refs.get_mut(usize::from(*len)) {
                    *free = series_ref;
                    *len += 1;
                } else {
                    let mut bitmap: RoaringBitmap = refs.iter().copied().collect();
                    bitmap.insert(series_ref);
                    *self = Self::Many(bitmap);
                }
            }
            Self::Many(bitmap) => {
                if bitmap.try_push(series_ref).is_err() {
                    bitmap.insert(series_ref);
                }
            }
        }
    }

    fn remove(&mut self, gone: &RoaringBitmap) {
        match self {
            Self::Few { len, refs } => {
                let mut kept = 0;
                for i in 0..usize::from(*len) {
                    if !gone.contains(refs[i]) {
                        refs[kept] = refs[i];
                        kept += 1;
                    }
                }
                *len = kept as u8;
            }
            Self::Many(bitmap) => *bitmap -= gone,
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> u64 {
        match self {
            Self::Few { len, .. } => u64::from(*len),
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    fn add_to(&self, union: &mut RoaringBitmap) {
        match self {
            Self::Few { len, refs } => union.extend(&refs[..usize::from(*len)]),
            Self::Many(bitmap) => *union |= bitmap,
        }
    }

    fn intersects(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::Few { len, refs } => refs[..usize::from(*len)].iter().any(|r| set.contains(*r)),
            Self::Many(bitmap) => !bitmap.is_disjoint(set),
        }
    }
}

/// Lets a scan be interrupted, so that a long one does not keep writers waiting: the guard of
/// the lock around the index implements it.
pub trait IndexAccess {
    /// The index as it is now.
    fn index(&self) -> &LabelIndex;
    /// Lets waiting writers in. Pairs may have been added meanwhile, none removed.
    fn pause(&mut self);
}

impl IndexAccess for &LabelIndex {
    fn index(&self) -> &LabelIndex {
        self
    }

    fn pause(&mut self) {}
}

impl IndexAccess for parking_lot::RwLockReadGuard<'_, LabelIndex> {
    fn index(&self) -> &LabelIndex {
        self
    }

    fn pause(&mut self) {
        Self::bump(self);
    }
}

impl LabelIndex {
    /// The id of a pair, made if it is new.
    pub fn intern(&mut self, name: &str, value: &str) -> PairId {
        let name = self.intern_name(name);
        let hash = xxh3_64(value.as_bytes());
        let Self {
            names, pairs, free, ..
        } = self;
        let entry = &mut names[name.0 as usize];
        if let Some(id) = entry
            .by_value
            .find(hash, |id| *pairs[*id as usize].value == *value)
        {
            return PairId(*id);
        }
        let made = PairEntry {
            name,
            value: Box::from(value),
            postings: Postings::EMPTY,
        };
        let id = if let Some(id) = free.pop() {
            pairs[id as usize] = made;
            id
        } else {
            pairs.push(made);
            u32::try_from(pairs.len() - 1).expect("memory ends before 2^32 label pairs")
        };
        let rehash = |id: &u32| xxh3_64(pairs[*id as usize].value.as_bytes());
        entry.by_value.insert_unique(hash, id, rehash);
        entry.pairs.push(id);
        PairId(id)
    }

    /// As [`Self::intern`], but looks at one pair first: the one that a similar series has.
    #[inline]
    pub fn intern_near(&mut self, name: &str, value: &str, near: Option<PairId>) -> PairId {
        match near {
            Some(near) if self.pair(near) == (name, value) => near,
            _ => self.intern(name, value),
        }
    }

    fn intern_name(&mut self, name: &str) -> NameId {
        let hash = xxh3_64(name.as_bytes());
        let Self {
            names, name_ids, ..
        } = self;
        if let Some(id) = name_ids.find(hash, |id| *names[*id as usize].text == *name) {
            return NameId(*id);
        }
        names.push(NameEntry {
            text: Box::from(name),
            by_value: HashTable::new(),
            pairs: Vec::new(),
        });
        let id = (names.len() - 1) as u32;
        let rehash = |id: &u32| xxh3_64(names[*id as usize].text.as_bytes());
        name_ids.insert_unique(hash, id, rehash);
        NameId(id)
    }

    /// Enters a series under its pairs.
    pub fn add(&mut self, series_ref: u32, pairs: &[PairId]) {
        if self.all.try_push(series_ref).is_err() {
            self.all.insert(series_ref);
        }
        for pair in pairs {
            self.pairs[pair.0 as usize].postings.push(series_ref);
        }
    }

    /// Takes series out, and the pairs that no series has any more. `pairs` are all pairs of
    /// the series that go. No scan may be under way.
    pub fn remove(&mut self, gone: &RoaringBitmap, pairs: impl Iterator<Item = PairId>) {
        self.all -= gone;
        let mut touched: Vec<PairId> = pairs.collect();
        touched.sort_unstable();
        touched.dedup();
        let mut names: Vec<NameId> = Vec::new();
        for pair in touched {
            let entry = &mut self.pairs[pair.0 as usize];
            entry.postings.remove(gone);
            if entry.postings.is_empty() {
                let hash = xxh3_64(entry.value.as_bytes());
                let table = &mut self.names[entry.name.0 as usize].by_value;
                if let Ok(found) = table.find_entry(hash, |id| *id == pair.0) {
                    found.remove();
                }
                names.push(entry.name);
                entry.value = Box::from("");
                self.free.push(pair.0);
            }
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let NameEntry {
                by_value, pairs, ..
            } = &mut self.names[name.0 as usize];
            pairs.clear();
            pairs.extend(by_value.iter().copied());
            if by_value.len() * 4 < by_value.capacity() {
                let entries = &self.pairs;
                by_value.shrink_to_fit(|id| xxh3_64(entries[*id as usize].value.as_bytes()));
                pairs.shrink_to_fit();
            }
        }
    }

    /// Name and value of a pair.
    pub fn pair(&self, pair: PairId) -> (&str, &str) {
        let entry = &self.pairs[pair.0 as usize];
        (&self.names[entry.name.0 as usize].text, &entry.value)
    }

    /// The name of a pair.
    pub fn name_of(&self, pair: PairId) -> NameId {
        self.pairs[pair.0 as usize].name
    }

    /// The id of a name, if any series has or had it.
    pub fn name_id(&self, name: &str) -> Option<NameId> {
        let hash = xxh3_64(name.as_bytes());
        let same = |id: &u32| *self.names[*id as usize].text == *name;
        self.name_ids.find(hash, same).map(|id| NameId(*id))
    }

    /// All names, sorted by their text.
    pub(crate) fn sorted_names(&self) -> Vec<NameId> {
        let mut names: Vec<u32> = (0..self.names.len() as u32).collect();
        names.sort_unstable_by_key(|id| &self.names[*id as usize].text);
        names.into_iter().map(NameId).collect()
    }

    /// The pairs of a name, sorted by their value.
    pub(crate) fn sorted_pairs(&self, name: NameId) -> Vec<PairId> {
        let mut pairs = self.names[name.0 as usize].pairs.clone();
        pairs.sort_unstable_by_key(|id| &self.pairs[*id as usize].value);
        pairs.into_iter().map(PairId).collect()
    }

    /// The label set that pairs, in label order, make up.
    pub fn labels(&self, pairs: &[PairId]) -> Labels {
        Labels::from_sorted(pairs.iter().map(|pair| self.pair(*pair)))
    }

    /// All series.
    pub fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// How many distinct pairs there are.
    pub fn pair_count(&self) -> usize {
        self.pairs.len() - self.free.len()
    }

    fn find_pair(&self, name: NameId, value: &str) -> Option<&PairEntry> {
        let entry = &self.names[name.0 as usize];
        let same = |id: &u32| *self.pairs[*id as usize].value == *value;
        let id = entry.by_value.find(xxh3_64(value.as_bytes()), same)?;
        Some(&self.pairs[*id as usize])
    }
}

/// What a scan of the index tells.
#[derive(Clone, Copy, Debug)]
pub enum Step<T> {
    /// Something found.
    Item(T),
    /// Writers had a chance: the moment to see whether to go on.
    Pause,
}

/// Tells the names that a series of the set has, or that any has, each once; stops at the first
/// error of `tell`.
pub fn names_among<E>(
    access: &mut impl IndexAccess,
    set: Option<&RoaringBitmap>,
    mut tell: impl FnMut(Step<&str>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < access.index().names.len() {
        let name = NameId(at as u32);
        let mut has = false;
        scan(
            access,
            name,
            |index, ids| {
                let mut entries = ids.iter().map(|id| &index.pairs[*id as usize]);
                has =
                    has || entries.any(|pair| set.is_none_or(|set| pair.postings.intersects(set)));
                Ok(!has)
            },
            || tell(Step::Pause),
        )?;
        if has {
            tell(Step::Item(&access.index().names[at].text))?;
        }
        at += 1;
    }
    Ok(())
}

/// Tells the values of a name that a series of the set has, or that any has, each once; stops at
/// the first error of `tell`.
pub fn values_among<E>(
    access: &mut impl IndexAccess,
    name: &str,
    set: Option<&RoaringBitmap>,
    tell: impl FnMut(Step<&str>) -> Result<(), E>,
) -> Result<(), E> {
    let Some(name) = access.index().name_id(name) else {
        return Ok(());
    };
    let tell = RefCell::new(tell);
    scan(
        access,
        name,
        |index, ids| {
            for pair in ids.iter().map(|id| &index.pairs[*id as usize]) {
                if set.is_none_or(|set| pair.postings.intersects(set)) {
                    tell.borrow_mut()(Step::Item(&pair.value))?;
                }
            }
            Ok(true)
        },
        || tell.borrow_mut()(Step::Pause),
    )
}

/// Tells name, value and number of series of every pair, name by name; stops at the first error
/// of `tell`.
pub fn cardinality<E>(
    access: &mut impl IndexAccess,
    tell: impl FnMut(Step<(&str, &str, u64)>) -> Result<(), E>,
) -> Result<(), E> {
    let tell = RefCell::new(tell);
    let mut at = 0;
    while at < access.index().names.len() {
        let name = NameId(at as u32);
        scan(
            access,
            name,
            |index, ids| {
                let text = &*index.names[name.0 as usize].text;
                for pair in ids.iter().map(|id| &index.pairs[*id as usize]) {
                    tell.borrow_mut()(Step::Item((text, &pair.value, pair.postings.len())))?;
                }
                Ok(true)
            },
            || tell.borrow_mut()(Step::Pause),
        )?;
        at += 1;
    }
    Ok(())
}

/// Goes through the pairs of a name in batches, until `look` has enough; writers get a chance
/// after each, and `paused` is told.
fn scan<E>(
    access: &mut impl IndexAccess,
    name: NameId,
    mut look: impl FnMut(&LabelIndex, &[u32]) -> Result<bool, E>,
    mut paused: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    loop {
        let index = access.index();
        let ids = &index.names[name.0 as usize].pairs;
        let batch = ids.get(at..ids.len().min(at + SCAN_BATCH)).unwrap_or(&[]);
        if batch.is_empty() {
            return Ok(());
        }
        at += batch.len();
        let more = look(index, batch)?;
        access.pause();
        paused()?;
        if !more {
            return Ok(());
        }
    }
}

/// The series that satisfy all matchers.
pub fn resolve(access: &mut impl IndexAccess, matchers: &[Matcher]) -> RoaringBitmap {
    // Cheap sets first: an equality that finds nothing spares the expressions behind it.
    let mut order: Vec<&Matcher> = matchers.iter().collect();
    order.sort_by_key(|matcher| cost(matcher));
    let mut found: Option<RoaringBitmap> = None;
    for matcher in order {
        if matcher.matches_empty() {
            // Whoever lacks the label matches: what remains is to take out the others.
            let mut base = found.take().unwrap_or_else(|| access.index().all.clone());
            if !matches!(matcher.pattern(), Some(Pattern::Everything)) || matcher.is_negative() {
                base -= union_of(access, matcher, false, Some(&base));
            }
            found = Some(base);
        } else {
            let with = union_of(access, matcher, true, found.as_ref());
            found = Some(match found {
                Some(base) => base & with,
                None => with,
            });
        }
        if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
            break;
        }
    }
    found.unwrap_or_else(|| access.index().all.clone())
}

fn cost(matcher: &Matcher) -> u8 {
    match (matcher.op, matcher.pattern()) {
        _ if matcher.matches_empty() => 4,
        (MatchOp::Equal, _) => 0,
        (MatchOp::Regex, Some(Pattern::Literals(_))) => 1,
        (MatchOp::Regex, Some(Pattern::Prefix(_))) => 2,
        _ => 3,
    }
}

/// The union of the postings of those values that the matcher takes (or, with `wanted` false,
/// refuses). Values whose postings do not meet `among` need not be tested or added.
fn union_of(
    access: &mut impl IndexAccess,
    matcher: &Matcher,
    wanted: bool,
    among: Option<&RoaringBitmap>,
) -> RoaringBitmap {
    let mut union = RoaringBitmap::new();
    let Some(name) = access.index().name_id(&matcher.name) else {
        return union;
    };
    // The values to look up instead of scanning: those that `=` or a list names.
    let listed: Option<Vec<&str>> = match (matcher.op, matcher.pattern()) {
        (MatchOp::Equal, _) if wanted => Some(vec![&matcher.value]),
        (MatchOp::NotEqual, _) if !wanted => Some(vec![&matcher.value]),
        (MatchOp::Regex, Some(Pattern::Literals(all))) if wanted => {
            Some(all.iter().map(String::as_str).collect())
        }
        (MatchOp::NotRegex, Some(Pattern::Literals(all))) if !wanted => {
            Some(all.iter().map(String::as_str).collect())
        }
        _ => None,
    };
    if let Some(values) = listed {
        let index = access.index();
        for pair in values
            .iter()
            .filter_map(|value| index.find_pair(name, value))
        {
            pair.postings.add_to(&mut union);
        }
        return union;
    }
    let small = among.filter(|set| set.len() < 100_000);
    let mut at = 0;
    loop {
        let index = access.index();
        let ids = &index.names[name.0 as usize].pairs;
        let Some(batch) = ids.get(at..ids.len().min(at + SCAN_BATCH)) else {
            break;
        };
        if batch.is_empty() {
            break;
        }
        at += batch.len();
        let entries = batch.iter().map(|id| &index.pairs[*id as usize]);
        let hits = entries.filter(|pair| {
            small.is_none_or(|set| pair.postings.intersects(set))
                && matcher.matches(&pair.value) == wanted
        });
        let mut bitmaps = Vec::new();
        for pair in hits {
            match &pair.postings {
                Postings::Many(bitmap) => bitmaps.push(bitmap),
                few @ Postings::Few { .. } => few.add_to(&mut union),
            }
        }
        if !bitmaps.is_empty() {
            union |= bitmaps.union();
        }
        access.pause();
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series_of(numbers: &[(u8, u8, u8)]) -> (LabelIndex, Vec<Labels>) {
        let mut index = LabelIndex::default();
        let mut all = Vec::new();
        for (i, (a, b, c)) in numbers.iter().enumerate() {
            let text = |n: &u8| {
                if *n == 0 {
                    String::new()
                } else {
                    format!("v{n}")
                }
            };
            let labels = Labels::from_pairs([("a", text(a)), ("b", text(b)), ("c", text(c))]);
            let pairs: Vec<PairId> = labels.iter().map(|(n, v)| index.intern(n, v)).collect();
            index.add(i as u32, &pairs);
            all.push(labels);
        }
        (index, all)
    }

    fn naive(all: &[Labels], gone: &RoaringBitmap, matchers: &[Matcher]) -> Vec<u32> {
        let holds = |labels: &Labels| {
            let mut each = matchers.iter();
            each.all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
        };
        let refs = 0..all.len() as u32;
        refs.filter(|r| !gone.contains(*r) && holds(&all[*r as usize]))
            .collect()
    }

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let names = prop::sample::select(vec!["a", "b", "c", "none"]);
        let ops = prop::sample::select(vec![
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ]);
        let values = prop::sample::select(vec![
            "", "v1", "v2", "v9", ".*", ".+", "v1|v3", "v.*", "v[1-3]", "|v1", "v1.+", "x.*",
        ]);
        (names, ops, values).prop_map(|(n, op, v)| Matcher::new(n, op, v).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn agrees_with_a_look_at_every_series(
            numbers in prop::collection::vec((0u8..5, 0u8..12, 0u8..2), 0..60),
            matchers in prop::collection::vec(any_matcher(), 0..4),
            removed in prop::collection::btree_set(0u32..60, 0..20),
        ) {
            let (mut index, all) = series_of(&numbers);
            let found = resolve(&mut &index, &matchers);
            let none = RoaringBitmap::new();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), naive(&all, &none, &matchers));

            let gone: RoaringBitmap = removed.into_iter().filter(|r| (*r as usize) < all.len()).collect();
            let mut pairs = Vec::new();
            for series in &gone {
                for (name, value) in &all[series as usize] {
                    pairs.push(index.intern(name, value));
                }
            }
            index.remove(&gone, pairs.into_iter());
            let found = resolve(&mut &index, &matchers);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), naive(&all, &gone, &matchers));
            let mut values = Vec::new();
            let told = values_among(&mut &index, "a", None, |step| {
                if let Step::Item(value) = step {
                    values.push(value.to_owned());
                }
                Ok::<(), ()>(())
            });
            prop_assert!(told.is_ok());
            values.sort_unstable();
            let mut expected: Vec<&str> = (0..all.len() as u32)
                .filter(|r| !gone.contains(*r))
                .filter_map(|r| all[r as usize].get("a"))
                .collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(values, expected);
        }
    }
}
