//! Bits out of bytes, most significant first, through a window of 64 bits; and the integer
//! codes that every chunk shares.

/// Reads bits. Behind the end it reads zeros, and [`BitReader::overrun`] tells afterwards, so
/// that the hot loop checks once and not at every field.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits; may stand behind the end.
    pos: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// The next bits at the top of a word: at least 57 of them, then zeros.
    #[inline(always)]
    pub(super) fn window(&self) -> u64 {
        let first = self.pos >> 3;
        let word = match self.bytes.get(first..first.wrapping_add(8)) {
            Some(word) => u64::from_be_bytes(word.try_into().expect("eight bytes were taken")),
            None => self.last_word(first),
        };
        word << (self.pos & 7)
    }

    /// The last bytes, with zeros behind them.
    #[cold]
    fn last_word(&self, first: usize) -> u64 {
        let rest = self.bytes.get(first..).unwrap_or_default();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(word)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.pos += bits as usize;
    }

    /// The next `bits`, at most 57, as a number.
    #[inline(always)]
    pub(super) fn take(&mut self, bits: u32) -> u64 {
        debug_assert!(bits <= 57, "more than a window holds");
        if bits == 0 {
            return 0;
        }
        let value = self.window() >> (64 - bits);
        self.skip(bits);
        value
    }

    /// The next `bits`, at most 64, as a number.
    #[inline]
    pub(super) fn take_wide(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return self.take(bits);
        }
        let high = self.take(bits - 32);
        (high << 32) | self.take(32)
    }

    #[inline(always)]
    pub(super) fn take_bit(&mut self) -> bool {
        self.take(1) == 1
    }

    /// Whether more was read than there is.
    pub(super) fn overrun(&self) -> bool {
        self.pos > self.bytes.len() * 8
    }
}

/// Small magnitudes of either sign to small numbers: 0, -1, 1, -2 … to 0, 1, 2, 3 …
#[inline(always)]
pub(super) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// The other way.
#[inline(always)]
pub(super) fn unzigzag(z: u64) -> i64 {
    ((z >> 1) as i64) ^ -((z & 1) as i64)
}

/// How many bits a number needs; none for zero.
#[inline(always)]
pub(super) fn width(z: u64) -> u32 {
    64 - z.leading_zeros()
}

/// The step between two timestamps that the next is guessed from. What does not fit 32 bits
/// (24 days) is no rhythm and counts as zero, which keeps the state of an open chunk small.
#[inline(always)]
pub(super) fn rhythm(step: i64) -> i32 {
    i32::try_from(step).unwrap_or(0)
}

/// The widths of a change of the rhythm, by the number of ones before it: zigzag milliseconds.
pub(super) const DOD_WIDTHS: [u32; 4] = [6, 12, 20, 64];
