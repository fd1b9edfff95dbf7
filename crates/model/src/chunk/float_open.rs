//! The open chunk of a float series: where each sample of the write path ends up.
//!
//! A head holds a million of these, so the struct is 56 bytes, the samples of a series that
//! never changes touch nothing but it for 64 samples, and the buffer behind it grows in steps
//! of four words.

use super::bits::{BitReader, change_code, rhythm, unzigzag, width, zigzag};
use super::number::{Guess, Mode, QUOTIENT_END};
use super::{AppendResult, MAX_SAMPLES};
use crate::time::TimestampMs;

/// A float chunk that is being written. Empty, it owns no memory on the heap.
#[derive(Clone, Debug)]
pub struct OpenChunk {
    /// Full words of bits, the first bit on top. While `tracks_start` is set, the last word of
    /// the buffer holds the last start timestamp instead.
    words: Box<[u64]>,
    /// The word that is being filled, from the top.
    tail: u64,
    last_t: TimestampMs,
    last_v: f64,
    /// The step of time that is expected next.
    step: i32,
    /// See [`Guess`]; in [`Mode::XOR`] the significant bits of the last window.
    slope: i32,
    /// Bits written, those of `tail` among them. A chunk of 120 samples has under 27,000.
    len_bits: u16,
    /// See [`Guess`]; in [`Mode::XOR`] the leading zeros of the last window.
    spread: u8,
    count: u8,
    mode: Mode,
    /// The last value is a whole number of the mode.
    last_whole: bool,
    /// The first sample came with a start timestamp.
    first_start: bool,
    /// Some sample did.
    tracks_start: bool,
}

/// No window of XORed bits was written yet.
const NO_WINDOW: u8 = u8::MAX;
/// A narrower window is begun where the old one wastes more bits than the new one's head costs.
const WASTE_MAX: u32 = 12;
/// Words a buffer grows by.
const GROWTH: usize = 4;

impl Default for OpenChunk {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenChunk {
    /// An empty chunk.
    pub fn new() -> Self {
        Self {
            words: Box::default(),
            tail: 0,
            last_t: 0,
            last_v: 0.0,
            step: 0,
            slope: 0,
            len_bits: 0,
            spread: NO_WINDOW,
            count: 0,
            mode: Mode::WHOLE,
            last_whole: false,
            first_start: false,
            tracks_start: false,
        }
    }

    /// Appends a sample; `start` is 0 where unknown. Timestamps may go any way: keeping them
    /// in order is the head's business.
    #[inline]
    pub fn append(&mut self, t: TimestampMs, v: f64, start: TimestampMs) -> AppendResult {
        if self.count == 0 {
            self.append_first(t, v, start);
        } else if usize::from(self.count) < MAX_SAMPLES {
            self.append_next(t, v, start);
        } else {
            return AppendResult::NewChunkNeeded;
        }
        self.last_t = t;
        self.last_v = v;
        self.count += 1;
        AppendResult::Appended
    }

    /// The number of samples.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next sample needs a new chunk.
    pub fn is_full(&self) -> bool {
        self.count() >= MAX_SAMPLES
    }

    /// The timestamp of the first sample, if there is one; read back from the bits.
    pub fn first_t(&self) -> Option<TimestampMs> {
        if self.is_empty() {
            return None;
        }
        let first = if self.len_bits < 64 {
            self.tail
        } else {
            self.words[0]
        };
        let second = match self.len_bits {
            0..64 => 0,
            64..128 => self.tail,
            _ => self.words[1],
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        bytes[8..].copy_from_slice(&second.to_be_bytes());
        let mut bits = BitReader::new(&bytes);
        let width = bits.take(7) as u32;
        Some(unzigzag(bits.take_wide(width.min(64))))
    }

    /// The timestamp of the last sample; 0 without one.
    #[inline]
    pub fn last_t(&self) -> TimestampMs {
        self.last_t
    }

    /// The value of the last sample; 0 without one.
    #[inline]
    pub fn last_value(&self) -> f64 {
        self.last_v
    }

    /// The start timestamp of the last sample; 0 where unknown.
    #[inline]
    pub fn last_start(&self) -> TimestampMs {
        match self.words.last() {
            Some(word) if self.tracks_start => *word as i64,
            _ => 0,
        }
    }

    /// The memory on the heap, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// The chunk as it is now, as [`super::decode_into`] reads it. Not for an empty chunk, whose bytes
    /// are empty.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + usize::from(self.len_bits).div_ceil(8));
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends what [`Self::bytes`] returns.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let bits = usize::from(self.len_bits);
        let head = u16::from(self.count) | (u16::from(self.first_start) << 15);
        bytes.extend_from_slice(&head.to_be_bytes());
        for word in &self.words[..bits / 64] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.tail.to_be_bytes()[..(bits % 64).div_ceil(8)]);
    }

    /// The finished chunk, with no byte to spare.
    pub fn close(self) -> Box<[u8]> {
        self.bytes().into_boxed_slice()
    }

    fn append_first(&mut self, t: TimestampMs, v: f64, start: TimestampMs) {
        self.put_width(zigzag(t));
        if start != 0 {
            self.first_start = true;
            self.set_last_start(start);
            self.put_width(zigzag(t.wrapping_sub(start)));
        }
        let mode = Mode::first(v);
        self.put(mode.bits(), 4);
        match mode.whole(v) {
            Some(n) if mode != Mode::XOR => self.put_width(zigzag(n)),
            _ => self.put(v.to_bits(), 64),
        }
        self.begin_mode(mode, v);
    }

    #[inline(always)]
    fn append_next(&mut self, t: TimestampMs, v: f64, start: TimestampMs) {
        let in_rhythm = t.wrapping_sub(self.last_t) == i64::from(self.step);
        let same_start = start == 0 && !self.tracks_start || start == self.last_start();
        let same_value = v.to_bits() == self.last_v.to_bits();
        if !(in_rhythm && same_start) {
            self.append_irregular(t, v, start);
        } else if same_value {
            self.put(0, 1);
        } else {
            self.put_value(0b10, 2, v);
        }
    }

    /// A sample off the rhythm, or with another start timestamp.
    fn append_irregular(&mut self, t: TimestampMs, v: f64, start: TimestampMs) {
        let step = t.wrapping_sub(self.last_t);
        let change = step.wrapping_sub(i64::from(self.step));
        if start == self.last_start() {
            self.put(0b110, 3);
            self.put_change(change);
        } else {
            self.put(0b111, 3);
            if start == self.last_t {
                self.put(0, 1);
            } else {
                self.put(1, 1);
                self.put_width(zigzag(t.wrapping_sub(start)));
            }
            self.set_last_start(start);
            self.put(u64::from(change != 0), 1);
            if change != 0 {
                self.put_change(change);
            }
        }
        self.step = rhythm(step);
        if v.to_bits() == self.last_v.to_bits() {
            self.put(0, 1);
        } else {
            self.put_value(1, 1, v);
        }
    }

    /// How much later or earlier than expected: a class, then so many bits.
    fn put_change(&mut self, change: i64) {
        let (code, code_bits, z) = change_code(change);
        self.put(code, code_bits);
        if code_bits == 3 {
            self.put(z, 64);
        }
    }

    /// A value unlike the last, behind a few bits that say so.
    #[inline(always)]
    fn put_value(&mut self, prefix: u64, prefix_bits: u32, v: f64) {
        if self.mode == Mode::XOR {
            self.put(prefix, prefix_bits);
            return self.put_xor(v);
        }
        let Some(n) = self.mode.whole(v) else {
            self.put(prefix, prefix_bits);
            return self.put_raw(v);
        };
        let last = match self.last_whole {
            true => self.mode.whole_of(self.last_v),
            false => 0,
        };
        self.last_whole = true;
        let step = n.wrapping_sub(last);
        let mut guess = self.guess();
        let z = zigzag(step.wrapping_sub(guess.step()));
        let low_bits = guess.low_bits();
        let quotient = z >> low_bits;
        if quotient < QUOTIENT_END {
            // The quotient as so many zeros and a one; then what is left of the residual.
            let low = z & ((1 << low_bits) - 1);
            let code_bits = quotient as u32 + 1 + low_bits;
            let code = (1 << low_bits) | low;
            self.put((prefix << code_bits) | code, prefix_bits + code_bits);
            guess.learn(step, quotient);
        } else {
            self.put((prefix << 9) | 1, prefix_bits + 9);
            let width = width(z).min(63);
            self.put(u64::from(width), 6);
            self.put(z, width);
            guess.learn_outlier(step, width);
        }
        self.slope = guess.slope;
        self.spread = guess.spread;
    }

    /// A value that the mode cannot write: its bits, and the mode to go on with.
    #[cold]
    fn put_raw(&mut self, v: f64) {
        self.put(1, 10);
        self.switch_mode(v);
    }

    fn switch_mode(&mut self, v: f64) {
        let next = self.mode.next(v);
        self.put(next.bits(), 4);
        self.put(v.to_bits(), 64);
        if next == self.mode {
            self.last_whole = false;
        } else {
            self.begin_mode(next, v);
        }
    }

    fn put_xor(&mut self, v: f64) {
        // Bits are for values that are no numbers in disguise; what only followed a NaN may be.
        let may_switch = !self.last_v.is_finite() && v.is_finite();
        if may_switch && Mode::first(v) != Mode::XOR {
            self.put(0, 2);
            return self.switch_mode(v);
        }
        let xor = v.to_bits() ^ self.last_v.to_bits();
        let (leading, trailing) = (xor.leading_zeros(), xor.trailing_zeros());
        let significant = 64 - leading - trailing;
        let (old_leading, old_significant) = (u32::from(self.spread), self.slope as u32);
        let fits = self.spread != NO_WINDOW
            && leading >= old_leading
            && leading + significant <= old_leading + old_significant
            && significant + WASTE_MAX >= old_significant;
        if fits {
            self.put(1, 1);
            self.put(xor >> (64 - old_leading - old_significant), old_significant);
        } else {
            let head = (1 << 12) | (u64::from(leading) << 6) | u64::from(significant - 1);
            self.put(head, 14);
            self.put(xor >> trailing, significant);
            self.spread = leading as u8;
            self.slope = significant as i32;
        }
    }

    fn begin_mode(&mut self, mode: Mode, v: f64) {
        self.mode = mode;
        self.last_whole = mode != Mode::XOR && mode.whole(v).is_some();
        if mode == Mode::XOR {
            self.slope = 0;
            self.spread = NO_WINDOW;
        } else {
            self.set_guess(Guess::fresh());
        }
    }

    #[inline(always)]
    fn guess(&self) -> Guess {
        Guess {
            slope: self.slope,
            spread: self.spread,
        }
    }

    fn set_guess(&mut self, guess: Guess) {
        self.slope = guess.slope;
        self.spread = guess.spread;
    }

    /// A number behind its width, seven bits.
    fn put_width(&mut self, z: u64) {
        self.put(u64::from(width(z)), 7);
        if z != 0 {
            self.put(z, width(z));
        }
    }

    /// Writes the low `n` bits of `bits`, at most 64; those above them are zero.
    #[inline(always)]
    fn put(&mut self, bits: u64, n: u32) {
        debug_assert!(
            n == 64 || bits >> n == 0,
            "{bits:#x} has more than {n} bits"
        );
        let free = 64 - u32::from(self.len_bits % 64);
        if n < free {
            self.tail |= bits << (free - n);
        } else {
            let over = n - free;
            let full = self.tail | (bits >> over);
            self.push_word(full);
            self.tail = if over == 0 { 0 } else { bits << (64 - over) };
        }
        self.len_bits += n as u16;
    }

    #[inline]
    fn push_word(&mut self, word: u64) {
        let at = usize::from(self.len_bits / 64);
        if at + usize::from(self.tracks_start) >= self.words.len() {
            self.grow();
        }
        self.words[at] = word;
    }

    #[cold]
    fn grow(&mut self) {
        let last_start = self.last_start();
        let mut words = std::mem::take(&mut self.words).into_vec();
        words.reserve_exact(GROWTH);
        words.resize(words.len() + GROWTH, 0);
        self.words = words.into_boxed_slice();
        if self.tracks_start {
            self.set_last_start(last_start);
        }
    }

    fn set_last_start(&mut self, start: TimestampMs) {
        if !self.tracks_start {
            if self.words.len() <= usize::from(self.len_bits / 64) {
                self.grow();
            }
            self.tracks_start = true;
        }
        if let Some(word) = self.words.last_mut() {
            *word = start as u64;
        }
    }
}
