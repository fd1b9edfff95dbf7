//! The 128-bit name of a series.
//!
//! A fingerprint is composed of one hash per string: every label name and value is hashed by
//! itself, and the fingerprint is the hash of those hashes in label order. Remote write 2.0
//! sends each distinct string once a request, so that a request hashes each string once,
//! however many series use it.

use xxhash_rust::xxh3::xxh3_128;

use crate::labels::Labels;

/// The hash of a series' sorted labels. The same labels have the same fingerprint in every
/// process and for ever: it stands in the write-ahead log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// The fingerprint of a label set.
    pub fn of(labels: &Labels) -> Self {
        let mut hasher = FingerprintHasher::default();
        for (name, value) in labels {
            hasher.push(string_hash(name.as_bytes()));
            hasher.push(string_hash(value.as_bytes()));
        }
        hasher.finish()
    }
}

/// The hash of one label name or value.
#[inline]
pub fn string_hash(text: &[u8]) -> u128 {
    xxh3_128(text)
}

/// Composes string hashes, in label order (name, value, name, value, …), to a fingerprint.
#[derive(Clone, Debug)]
pub struct FingerprintHasher {
    a: u64,
    b: u64,
}

impl Default for FingerprintHasher {
    fn default() -> Self {
        Self {
            a: 0x9e37_79b9_7f4a_7c15,
            b: 0xc2b2_ae3d_27d4_eb4f,
        }
    }
}

impl FingerprintHasher {
    /// Adds the next string's hash.
    #[inline]
    pub fn push(&mut self, hash: u128) {
        let (low, high) = (hash as u64, (hash >> 64) as u64);
        self.a = fold(self.a ^ low, 0xa076_1d64_78bd_642f ^ high);
        self.b = (self.b.rotate_left(23) ^ high).wrapping_mul(0xe703_7ed1_a0b4_28db) ^ low;
    }

    /// The fingerprint of all strings pushed.
    #[inline]
    pub fn finish(self) -> Fingerprint {
        let low = fold(
            self.a ^ 0x8ebc_6af0_9c88_c6e3,
            self.b ^ 0x5899_65cc_7537_4cc3,
        );
        let high = fold(
            self.b ^ 0x1d8e_4e27_c47d_124f,
            self.a ^ 0xeb44_acca_b455_d165,
        );
        Fingerprint(u128::from(low) | u128::from(high) << 64)
    }
}

/// The product of two words, its halves folded onto each other.
#[inline]
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: a change of these makes every write-ahead log unreadable.
    #[test]
    fn stays_the_same_for_ever() {
        let empty = Fingerprint::of(&Labels::empty());
        let up = Fingerprint::of(&Labels::from_pairs([("__name__", "up"), ("job", "node")]));
        assert_eq!(format!("{:032x}", empty.0), GOLDEN_EMPTY);
        assert_eq!(format!("{:032x}", up.0), GOLDEN_UP);
    }

    const GOLDEN_EMPTY: &str = "b60eb84208b114facaf45705bb96d023";
    const GOLDEN_UP: &str = "e074942516ef644c08fddbf76c695737";

    #[test]
    fn differs_when_strings_move_between_labels() {
        let of =
            |pairs: &[(&str, &str)]| Fingerprint::of(&Labels::from_pairs(pairs.iter().copied()));
        let all = [
            of(&[("a", "b")]),
            of(&[("b", "a")]),
            of(&[("a", "b"), ("c", "d")]),
            of(&[("a", "d"), ("c", "b")]),
            of(&[("a", "a"), ("b", "b")]),
            of(&[("a", "b"), ("b", "a")]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one));
        }
    }
}
