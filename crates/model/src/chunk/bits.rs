//! Bits out of bytes, most significant first, through a window of 64 bits; and the integer
//! codes that every chunk shares.

use super::ChunkError;

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

    /// A number behind its width, seven bits.
    pub(super) fn take_width(&mut self) -> Result<u64, ChunkError> {
        match self.take(7) as u32 {
            width @ 0..=64 => Ok(self.take_wide(width)),
            _ => Err(ChunkError::Damaged("width")),
        }
    }

    /// How much later or earlier than expected.
    pub(super) fn take_change(&mut self) -> i64 {
        let class = self.window().leading_ones().min(3);
        self.skip((class + 1).min(3));
        unzigzag(self.take_wide(DOD_WIDTHS[class as usize]))
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.pos)
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
const DOD_WIDTHS: [u32; 4] = [6, 12, 20, 64];

/// Writes bits to bytes, for chunks whose state need not be tiny.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The bits since the last full eight bytes, from the top.
    tail: u64,
    tail_bits: u32,
}

impl BitWriter {
    /// Writes the low `n` bits of `bits`, at most 64; those above them are zero.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, n: u32) {
        debug_assert!(
            n >= 64 || bits >> n == 0,
            "{bits:#x} has more than {n} bits"
        );
        if n == 0 {
            return;
        }
        let free = 64 - self.tail_bits;
        if n < free {
            self.tail |= bits << (free - n);
            self.tail_bits += n;
            return;
        }
        let over = n - free;
        let full = self.tail | (bits >> over);
        self.bytes.extend_from_slice(&full.to_be_bytes());
        self.tail = if over == 0 { 0 } else { bits << (64 - over) };
        self.tail_bits = over;
    }

    #[inline]
    pub(super) fn put_bit(&mut self, bit: bool) {
        self.put(u64::from(bit), 1);
    }

    /// A number behind its width, seven bits.
    pub(super) fn put_width(&mut self, z: u64) {
        self.put(u64::from(width(z)), 7);
        self.put(z, width(z));
    }

    /// How much later or earlier than expected: a class, then so many bits.
    pub(super) fn put_change(&mut self, change: i64) {
        let (code, code_bits, z) = change_code(change);
        self.put(code, code_bits);
        if code_bits == 3 {
            self.put(z, 64);
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.tail_bits.div_ceil(8) as usize
    }

    /// What the vectors behind this take, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends the bytes, the last one filled up with zeros.
    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let tail = self.tail.to_be_bytes();
        out.extend_from_slice(&tail[..self.tail_bits.div_ceil(8) as usize]);
    }
}

/// The code for a change of the rhythm: a class and the zigzag change behind it; or, where the
/// code has three bits, the widest class alone, and 64 bits must follow.
#[inline]
pub(super) fn change_code(change: i64) -> (u64, u32, u64) {
    let z = zigzag(change);
    let class = DOD_WIDTHS.iter().position(|bits| width(z) <= *bits);
    match class.unwrap_or(3) {
        0 => (z, 7, z),
        1 => ((0b10 << 12) | z, 14, z),
        2 => ((0b110 << 20) | z, 23, z),
        _ => (0b111, 3, z),
    }
}
