//! What is known of a series on its way: its labels, and whether its name has been dropped.

use model::fingerprint::{Fingerprint, FingerprintHasher, string_hash};
use model::labels::{Labels, is_metadata_label};

/// What becomes of the labels that say what a series' metric is: name, type and unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Metadata {
    /// They stay.
    #[default]
    Stays,
    /// They are gone, though the labels may still have them.
    Gone,
    /// They go at the end of the query, and may be used until then.
    Goes,
}

/// The labels of a series in a stream. Dropping the name copies the labels, so it is put off
/// until somebody keeps them.
#[derive(Clone, Copy)]
pub(super) struct Tag<'a> {
    /// The labels as selected.
    pub labels: &'a Labels,
    /// The metric name, where all series of the selector have it; labels may lack it then.
    pub name: Option<&'a str>,
    /// What becomes of the name, and of the labels of type and unit.
    pub metadata: Metadata,
}

impl<'a> Tag<'a> {
    /// A series with these labels.
    pub(super) fn of(labels: &'a Labels) -> Self {
        Self {
            labels,
            name: None,
            metadata: Metadata::Stays,
        }
    }

    /// The same without its name: at once, or from the end of the query on.
    pub(super) fn without_name(self, delayed: bool) -> Self {
        let metadata = if delayed && self.metadata != Metadata::Gone {
            Metadata::Goes
        } else {
            Metadata::Gone
        };
        Self { metadata, ..self }
    }

    /// Whether the name is gone.
    fn is_nameless(&self) -> bool {
        self.metadata == Metadata::Gone
    }

    /// Whether the name goes at the end of the query.
    pub(super) fn goes(&self) -> bool {
        self.metadata == Metadata::Goes
    }

    /// The metric name; empty where there is none.
    pub(super) fn metric_name(&self) -> &'a str {
        if self.is_nameless() {
            return "";
        }
        self.name
            .or_else(|| self.labels.metric_name())
            .unwrap_or_default()
    }

    /// The labels, for keeping.
    pub(super) fn to_labels(self) -> Labels {
        if self.is_nameless() && self.labels.iter().any(|(name, _)| is_metadata_label(name)) {
            self.labels.without_metadata()
        } else {
            self.labels.clone()
        }
    }

    /// The pairs that are left.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels
            .iter()
            .filter(move |(name, _)| !self.is_nameless() || !is_metadata_label(name))
    }

    /// The hash of those labels that a predicate keeps.
    pub(super) fn hash(&self, keep: impl Fn(&str) -> bool) -> u128 {
        let mut hasher = FingerprintHasher::default();
        for (name, value) in self.iter() {
            if keep(name) {
                hasher.push(string_hash(name.as_bytes()));
                hasher.push(string_hash(value.as_bytes()));
            }
        }
        hasher.finish().0
    }

    /// The fingerprint of what is left.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.hash(|_| true))
    }
}

/// Hashes keys that are hashes already.
#[derive(Clone, Copy, Default)]
pub(super) struct Unhashed(u64);

impl std::hash::Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64 ^ (hash >> 64) as u64;
    }
}

/// A map by fingerprint or other 128-bit hash.
pub(super) type HashedMap<V> =
    std::collections::HashMap<u128, V, std::hash::BuildHasherDefault<Unhashed>>;

/// A set of fingerprints.
pub(super) type HashedSet =
    std::collections::HashSet<u128, std::hash::BuildHasherDefault<Unhashed>>;
