//! The numbers of a histogram: each is a series of its own within the chunk, written by how it
//! differs from the histogram before.

use super::bits::{BitReader, BitWriter, unzigzag, width, zigzag};
use super::number::{Guess, QUOTIENT_END};

/// A whole number that moves in guessable steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) last: i64,
    guess: Guess,
}

impl Whole {
    pub(super) const fn new() -> Self {
        Self {
            last: 0,
            guess: Guess::fresh(),
        }
    }

    /// Writes the number that follows: the quotient of the residual in zeros and a one, then its
    /// low bits; or eight zeros and a one, its width less one in six bits, and all of it.
    #[inline]
    pub(super) fn write(&mut self, number: i64, bits: &mut BitWriter) {
        let step = number.wrapping_sub(self.last);
        let z = zigzag(step.wrapping_sub(self.guess.step()));
        let low_bits = self.guess.low_bits();
        let quotient = z >> low_bits;
        if quotient < QUOTIENT_END {
            let low = z & ((1 << low_bits) - 1);
            bits.put((1 << low_bits) | low, quotient as u32 + 1 + low_bits);
            self.guess.learn(step, quotient);
        } else {
            let width = width(z);
            bits.put(1, 9);
            bits.put(u64::from(width - 1), 6);
            bits.put(z, width);
            self.guess.learn_outlier(step, width);
        }
        self.last = number;
    }

    /// Reads the number that follows, as [`Whole::write`] wrote it.
    #[inline]
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> i64 {
        let zeros = bits.window().leading_zeros();
        let step = if u64::from(zeros) < QUOTIENT_END {
            bits.skip(zeros + 1);
            let low_bits = self.guess.low_bits();
            let quotient = u64::from(zeros);
            let z = (quotient << low_bits) | bits.take(low_bits);
            let step = self.guess.step().wrapping_add(unzigzag(z));
            self.guess.learn(step, quotient);
            step
        } else {
            bits.skip(9);
            let width = bits.take(6) as u32 + 1;
            let z = bits.take_wide(width);
            let step = self.guess.step().wrapping_add(unzigzag(z));
            self.guess.learn_outlier(step, width);
            step
        };
        self.last = self.last.wrapping_add(step);
        self.last
    }
}

/// A float, written by the bits in which it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Xored {
    pub(super) last: u64,
    /// The last window of bits that differed; of width 0 before the first.
    leading: u8,
    significant: u8,
}

/// A narrower window is begun where the old one wastes more bits than the new one's head costs.
const WASTE_MAX: u32 = 12;

impl Xored {
    pub(super) const fn new() -> Self {
        Self {
            last: 0,
            leading: 0,
            significant: 0,
        }
    }

    /// Writes the float that follows: `0` the same, `10` within the window, `11` a new window of
    /// so many leading zeros and so many significant bits less one, six bits each.
    #[inline]
    pub(super) fn write(&mut self, float: f64, bits: &mut BitWriter) {
        let xor = float.to_bits() ^ self.last;
        self.last = float.to_bits();
        if xor == 0 {
            return bits.put(0, 1);
        }
        let (leading, trailing) = (xor.leading_zeros(), xor.trailing_zeros());
        let significant = 64 - leading - trailing;
        let (old_leading, old_significant) = (u32::from(self.leading), u32::from(self.significant));
        let fits = leading >= old_leading
            && leading + significant <= old_leading + old_significant
            && significant + WASTE_MAX >= old_significant;
        if fits {
            bits.put(0b10, 2);
            bits.put(xor >> (64 - old_leading - old_significant), old_significant);
        } else {
            let head = (0b11 << 12) | (u64::from(leading) << 6) | u64::from(significant - 1);
            bits.put(head, 14);
            bits.put(xor >> trailing, significant);
            self.leading = leading as u8;
            self.significant = significant as u8;
        }
    }

    /// Reads the float that follows; `None` where the window is none.
    #[inline]
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Option<f64> {
        if bits.take_bit() {
            if bits.take_bit() {
                self.leading = bits.take(6) as u8;
                self.significant = bits.take(6) as u8 + 1;
            }
            let (leading, significant) = (u32::from(self.leading), u32::from(self.significant));
            let trailing = 64_u32.checked_sub(leading + significant)?;
            if significant == 0 {
                return None;
            }
            self.last ^= bits.take_wide(significant) << trailing;
        }
        Some(f64::from_bits(self.last))
    }
}

/// The last numbers of a chunk's histograms but the sum: what is left of the count (below), the
/// zero bucket, then the buckets of both signs.
///
/// Whole numbers: buckets as absolute counts, and of the count only what all buckets together
/// do not explain, which is 0 unless NaN was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Whole(Vec<Whole>),
    Floats(Vec<Xored>),
}

impl Numbers {
    /// What they take on the heap, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Whole(numbers) => numbers.capacity() * size_of::<Whole>(),
            Self::Floats(numbers) => numbers.capacity() * size_of::<Xored>(),
        }
    }
}
