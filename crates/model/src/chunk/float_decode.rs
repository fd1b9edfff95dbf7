//! Float chunks to columns.

use super::ChunkError;
use super::bits::{BitReader, rhythm, unzigzag};
use super::number::{Guess, Mode};
use crate::time::{TimeRange, TimestampMs};

/// Appends the samples of a float chunk that lie within `range` to three columns of one length.
///
/// # Errors
/// [`ChunkError`] where the bytes are no such chunk; the columns are then as before. Memory is
/// bounded by eight samples for each byte.
pub fn decode_into(
    bytes: &[u8],
    range: TimeRange,
    ts: &mut Vec<TimestampMs>,
    values: &mut Vec<f64>,
    starts: &mut Vec<TimestampMs>,
) -> Result<(), ChunkError> {
    let (from_t, from_v, from_s) = (ts.len(), values.len(), starts.len());
    let (decoder, count) = Decoder::new(bytes)?;
    ts.resize(from_t + count, 0);
    values.resize(from_v + count, 0.0);
    starts.resize(from_s + count, 0);
    let mut columns = Columns {
        ts: &mut ts[from_t..],
        values: &mut values[from_v..],
        starts: &mut starts[from_s..],
    };
    let outcome = decoder.run(&mut columns);
    let kept = match outcome {
        Ok(()) => columns.keep(range),
        Err(_) => 0,
    };
    ts.truncate(from_t + kept);
    values.truncate(from_v + kept);
    starts.truncate(from_s + kept);
    outcome
}

/// Where decoded samples go: three slices of one length.
struct Columns<'a> {
    ts: &'a mut [TimestampMs],
    values: &'a mut [f64],
    starts: &'a mut [TimestampMs],
}

impl Columns<'_> {
    /// Moves what lies within the range to the front and tells how much that is.
    fn keep(&mut self, range: TimeRange) -> usize {
        // `TimeRange::all` ends before the very last instant, which is a timestamp like others.
        let all = range == TimeRange::all();
        if all || self.ts.iter().all(|t| range.contains(*t)) {
            return self.ts.len();
        }
        let mut kept = 0;
        for i in 0..self.ts.len() {
            if range.contains(self.ts[i]) {
                self.ts[kept] = self.ts[i];
                self.values[kept] = self.values[i];
                self.starts[kept] = self.starts[i];
                kept += 1;
            }
        }
        kept
    }
}

/// The reader's half of [`super::OpenChunk`]'s state. The rare branches of the loop take a copy and
/// give it back, which leaves the loop's own in registers.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    bits: BitReader<'a>,
    has_start: bool,
    t: TimestampMs,
    start: TimestampMs,
    step: i64,
    value: f64,
    /// The value as a whole number of the mode; 0 where it is none.
    whole: i64,
    mode: Mode,
    /// What whole numbers are divided by.
    scale: f64,
    guess: Guess,
    /// The last window of XORed bits, both 0 before the first.
    leading: u32,
    significant: u32,
}

impl<'a> Decoder<'a> {
    /// A decoder, and the number of samples to expect.
    fn new(bytes: &'a [u8]) -> Result<(Self, usize), ChunkError> {
        let Some((head, rest)) = bytes.split_first_chunk::<2>() else {
            return Err(ChunkError::Truncated);
        };
        let head = u16::from_be_bytes(*head);
        let count = usize::from(head & 0x7fff);
        if count == 0 {
            return Err(ChunkError::Damaged("count"));
        }
        if count > rest.len() * 8 {
            return Err(ChunkError::Truncated);
        }
        let decoder = Self {
            bits: BitReader::new(rest),
            has_start: head >> 15 == 1,
            t: 0,
            start: 0,
            step: 0,
            value: 0.0,
            whole: 0,
            mode: Mode::WHOLE,
            scale: 1.0,
            guess: Guess::fresh(),
            leading: 0,
            significant: 0,
        };
        Ok((decoder, count))
    }

    fn run(mut self, columns: &mut Columns<'_>) -> Result<(), ChunkError> {
        let count = columns.ts.len();
        self = self.read_first()?;
        columns.ts[0] = self.t;
        columns.values[0] = self.value;
        columns.starts[0] = self.start;
        let mut at = 1;
        while at < count {
            let window = self.bits.window();
            if window >> 63 == 0 {
                // A run of samples that bring nothing new; a window shows 57 bits for certain.
                let run = window.leading_zeros().min(57);
                let run = (run as usize).min(count - at);
                self.bits.skip(run as u32);
                for t in &mut columns.ts[at..at + run] {
                    self.t = self.t.wrapping_add(self.step);
                    *t = self.t;
                }
                columns.values[at..at + run].fill(self.value);
                columns.starts[at..at + run].fill(self.start);
                at += run;
                continue;
            }
            if window >> 62 == 0b10 {
                self.t = self.t.wrapping_add(self.step);
                self.bits.skip(2);
                self.read_value(window << 2)?;
            } else {
                self = self.read_irregular()?;
            }
            columns.ts[at] = self.t;
            columns.values[at] = self.value;
            columns.starts[at] = self.start;
            at += 1;
        }
        if self.bits.overrun() {
            return Err(ChunkError::Truncated);
        }
        Ok(())
    }

    fn read_first(mut self) -> Result<Self, ChunkError> {
        self.t = unzigzag(self.bits.take_width()?);
        if self.has_start {
            self.start = self.t.wrapping_sub(unzigzag(self.bits.take_width()?));
        }
        let mode = self.read_mode()?;
        self.begin_mode(mode);
        if mode == Mode::XOR {
            self.value = f64::from_bits(self.bits.take_wide(64));
        } else {
            self.whole = unzigzag(self.bits.take_width()?);
            self.value = self.whole as f64 / self.scale;
        }
        Ok(self)
    }

    #[inline(never)]
    fn read_irregular(mut self) -> Result<Self, ChunkError> {
        let mut changed = true;
        let before = self.t;
        let start_changed = self.bits.take(3) == 0b111;
        let mut told = None;
        if start_changed {
            if self.bits.take_bit() {
                told = Some(unzigzag(self.bits.take_width()?));
            }
            changed = self.bits.take_bit();
        }
        if changed {
            let change = self.bits.take_change();
            let step = self.step.wrapping_add(change);
            self.t = self.t.wrapping_add(step);
            self.step = i64::from(rhythm(step));
        } else {
            self.t = self.t.wrapping_add(self.step);
        }
        if start_changed {
            self.start = match told {
                Some(since) => self.t.wrapping_sub(since),
                None => before,
            };
        }
        if self.bits.take_bit() {
            let window = self.bits.window();
            self.read_value(window)?;
        }
        Ok(self)
    }

    /// Reads a value unlike the last. `window` shows its first bits, at least 55 of them.
    #[inline(always)]
    fn read_value(&mut self, window: u64) -> Result<(), ChunkError> {
        if self.mode == Mode::XOR {
            return self.read_xor();
        }
        let quotient = window.leading_zeros();
        if quotient > 7 {
            *self = self.read_outlier(quotient)?;
            return Ok(());
        }
        let low_bits = self.guess.low_bits();
        self.bits.skip(quotient + 1);
        let low = if quotient + 1 + low_bits <= 55 {
            self.bits.skip(low_bits);
            // Two shifts, for there may be no low bits.
            ((window << (quotient + 1)) >> 1) >> (63 - low_bits)
        } else {
            self.bits.take(low_bits)
        };
        let quotient = u64::from(quotient);
        let step = self
            .guess
            .step()
            .wrapping_add(unzigzag((quotient << low_bits) | low));
        self.guess.learn(step, quotient);
        self.whole = self.whole.wrapping_add(step);
        self.value = self.whole as f64 / self.scale;
        Ok(())
    }

    #[cold]
    fn read_outlier(mut self, zeros: u32) -> Result<Self, ChunkError> {
        if zeros > 8 {
            self.bits.skip(10);
            return self.read_raw();
        }
        self.bits.skip(9);
        let width = self.bits.take(6) as u32;
        let z = self.bits.take_wide(width);
        let step = self.guess.step().wrapping_add(unzigzag(z));
        self.guess.learn_outlier(step, width);
        self.whole = self.whole.wrapping_add(step);
        self.value = self.whole as f64 / self.scale;
        Ok(self)
    }

    #[cold]
    fn read_raw(mut self) -> Result<Self, ChunkError> {
        let mode = self.read_mode()?;
        self.value = f64::from_bits(self.bits.take_wide(64));
        if mode != self.mode {
            self.begin_mode(mode);
        }
        self.whole = self.mode.whole(self.value).unwrap_or(0);
        Ok(self)
    }

    #[inline]
    fn read_xor(&mut self) -> Result<(), ChunkError> {
        let window = self.bits.window();
        match window >> 62 {
            0b00 => {
                self.bits.skip(2);
                *self = self.read_raw()?;
                return Ok(());
            }
            0b01 => {
                self.leading = (window >> 56) as u32 & 63;
                self.significant = ((window >> 50) as u32 & 63) + 1;
                self.bits.skip(14);
            }
            _ => self.bits.skip(1),
        }
        let Some(trailing) = 64_u32.checked_sub(self.leading + self.significant) else {
            return Err(ChunkError::Damaged("window"));
        };
        if self.significant == 0 {
            return Err(ChunkError::Damaged("window"));
        }
        let xor = self.bits.take_wide(self.significant) << trailing;
        self.value = f64::from_bits(self.value.to_bits() ^ xor);
        Ok(())
    }

    fn read_mode(&mut self) -> Result<Mode, ChunkError> {
        Mode::from_bits(self.bits.take(4)).ok_or(ChunkError::Damaged("mode"))
    }

    fn begin_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.scale = mode.scale();
        self.guess = Guess::fresh();
        self.leading = 0;
        self.significant = 0;
    }
}
