//! Seeded randomness: a failing run prints its seed, and `TIDEMARK_SEED` runs it again.

use std::io::Write as _;

/// A generator after Steele, Lea and Flood ("Fast splittable pseudorandom number generators",
/// 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Takes the seed from `TIDEMARK_SEED`, else from the clock, and prints it.
    pub fn from_environment(test: &str) -> Self {
        let given = std::env::var("TIDEMARK_SEED").ok();
        let seed = match given.as_deref().map(str::parse) {
            Some(seed) => seed.expect("TIDEMARK_SEED is a number"),
            None => crate::wait::now_ms().unsigned_abs(),
        };
        // Not `eprintln!`: the harness of `cargo test` swallows that of a test that passes.
        let _ = writeln!(std::io::stderr(), "{test}: TIDEMARK_SEED={seed}");
        Self(seed)
    }

    /// The generator of one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, whose numbers do not depend on how many this one gives.
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// A finite float with a full mantissa, so that a value cannot be right by chance.
    pub fn float(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / 1024.0 - 4e12
    }

    /// One of them.
    ///
    /// # Panics
    /// Where there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of these words.
    ///
    /// # Panics
    /// Where there is none.
    pub fn word(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len() as u64) as usize]
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
