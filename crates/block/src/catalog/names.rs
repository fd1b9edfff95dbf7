//! Which names of metrics a block may have: a Bloom filter, so that a query for one metric opens
//! no block without it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Bits for each name: with four probes, one name in a hundred is taken for one that is there.
const BITS_PER_NAME: usize = 10;
const PROBES: u64 = 4;
/// The most bits, so that an entry stays small; a block with more names than that fits has a
/// filter that lets more pass.
const MAX_BITS: usize = 64 << 10;

/// A set of names that may take a name for one of its own, but never misses one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameFilter(String);

impl NameFilter {
    /// The filter of some names.
    #[must_use]
    pub fn of<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Self {
        let bits = (names.len() * BITS_PER_NAME)
            .clamp(64, MAX_BITS)
            .next_multiple_of(8);
        let mut bytes = vec![0_u8; bits / 8];
        for name in names {
            for bit in probes(name, bits) {
                bytes[bit / 8] |= 1 << (bit % 8);
            }
        }
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether a name may be among them.
    #[must_use]
    pub fn may_contain(&self, name: &str) -> bool {
        let bits = self.0.len() / 2 * 8;
        if bits == 0 {
            return true;
        }
        let is_set = |bit: usize| {
            let digits = self.0.get(bit / 8 * 2..bit / 8 * 2 + 2);
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            // A filter that makes no sense keeps nothing out.
            byte.is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
        };
        probes(name, bits).all(is_set)
    }
}

fn probes(name: &str, bits: usize) -> impl Iterator<Item = usize> {
    let hash = xxh3_128(name.as_bytes());
    let (first, step) = (hash as u64, (hash >> 64) as u64 | 1);
    (0..PROBES)
        .map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % bits as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_none_and_keeps_most_others_out() {
        for count in [0, 1, 7, 500, 3_000] {
            let names: Vec<String> = (0..count).map(|i| format!("metric_{i}_total")).collect();
            let filter = NameFilter::of(names.iter().map(String::as_str));
            assert!(names.iter().all(|name| filter.may_contain(name)));
            let others = (0..10_000).map(|i| format!("other_{i}"));
            let passed = others.filter(|name| filter.may_contain(name)).count();
            assert!(passed < 300, "{passed} of 10,000 with {count} names");
        }
    }
}
