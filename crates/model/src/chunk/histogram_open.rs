//! The open chunk of a native histogram series.

use super::bits::{BitWriter, rhythm, zigzag};
use super::histogram_layout::{Layout, UNFOLDED_MAX, kind_of};
use super::histogram_numbers::{Numbers, Whole, Xored};
use super::{AppendResult, ChunkKind, MAX_SAMPLES};
use crate::histogram::{FloatHistogram, Histogram, HistogramSample, IntHistogram, ResetHint};
use crate::sample::is_stale;
use crate::time::TimestampMs;

/// A histogram chunk that is being written: histograms of one kind and layout. A stale marker
/// fits any; of it nothing but the time, the start timestamp and the reset hint is kept.
#[derive(Clone, Debug)]
pub struct OpenHistogramChunk {
    bits: BitWriter,
    layout: Layout,
    numbers: Numbers,
    sum: Xored,
    first_t: TimestampMs,
    last_t: TimestampMs,
    last_start: TimestampMs,
    /// The step of time that is expected next.
    step: i32,
    count: u16,
    last_hint: ResetHint,
    first_start: bool,
    last_stale: bool,
}

/// A chunk of more bytes than this is full, whatever its number of samples.
const FULL_BYTES: usize = 64 << 10;

/// The number that stands for a reset hint in a chunk.
pub(super) fn hint_bits(hint: ResetHint) -> u64 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn sum_of(histogram: &Histogram) -> f64 {
    match histogram {
        Histogram::Int(int) => int.sum,
        Histogram::Float(float) => float.sum,
    }
}

fn hint_of(histogram: &Histogram) -> ResetHint {
    match histogram {
        Histogram::Int(int) => int.reset_hint,
        Histogram::Float(float) => float.reset_hint,
    }
}

impl OpenHistogramChunk {
    /// A chunk with its first sample, which decides on its kind and layout.
    pub fn new(first: &HistogramSample) -> Self {
        let layout = Layout::of(&first.histogram);
        let numbers = 2 + layout.buckets();
        let numbers = match first.histogram {
            Histogram::Int(_) => Numbers::Whole(vec![Whole::new(); numbers]),
            Histogram::Float(_) => Numbers::Floats(vec![Xored::new(); numbers]),
        };
        let hint = hint_of(&first.histogram);
        let mut chunk = Self {
            bits: BitWriter::default(),
            layout,
            numbers,
            sum: Xored::new(),
            first_t: first.t,
            last_t: first.t,
            last_start: first.start,
            step: 0,
            count: 1,
            last_hint: hint,
            first_start: first.start != 0,
            last_stale: is_stale(sum_of(&first.histogram)),
        };
        chunk.layout.write(&mut chunk.bits);
        chunk.bits.put_width(zigzag(first.t));
        if chunk.first_start {
            chunk
                .bits
                .put_width(zigzag(first.t.wrapping_sub(first.start)));
        }
        chunk.bits.put(hint_bits(hint), 2);
        chunk.put_numbers(&first.histogram);
        chunk
    }

    /// Appends a sample, unless it is of another kind or layout or the chunk is full. Timestamps
    /// may go any way: keeping them in order is the head's business.
    pub fn append(&mut self, sample: &HistogramSample) -> AppendResult {
        let stale = is_stale(sum_of(&sample.histogram));
        let kind = kind_of(&sample.histogram);
        let fits = stale || (kind == self.kind() && self.layout.fits(&sample.histogram));
        if !fits || self.is_full() {
            return AppendResult::NewChunkNeeded;
        }
        self.put_time(sample.t, sample.start, hint_of(&sample.histogram), stale);
        if !stale {
            let same = self.numbers_are(&sample.histogram);
            self.bits.put_bit(!same);
            if !same {
                self.put_numbers(&sample.histogram);
            }
        }
        self.last_stale = stale;
        self.count += 1;
        AppendResult::Appended
    }

    /// Whether the last sample holds this histogram, hint and all; a stale marker any stale one.
    pub fn last_is(&self, histogram: &Histogram) -> bool {
        if is_stale(sum_of(histogram)) || self.last_stale {
            return is_stale(sum_of(histogram)) == self.last_stale;
        }
        kind_of(histogram) == self.kind()
            && hint_of(histogram) == self.last_hint
            && self.layout.fits(histogram)
            && self.numbers_are(histogram)
    }

    /// Whether histograms are integer or float ones.
    pub fn kind(&self) -> ChunkKind {
        match self.numbers {
            Numbers::Whole(_) => ChunkKind::IntHistogram,
            Numbers::Floats(_) => ChunkKind::FloatHistogram,
        }
    }

    /// The number of samples, at least one.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the next sample needs a new chunk.
    pub fn is_full(&self) -> bool {
        let numbers = 2 + self.layout.buckets();
        self.count() >= MAX_SAMPLES
            || self.bits.len() >= FULL_BYTES
            || (self.count() + 1).saturating_mul(numbers) > UNFOLDED_MAX
    }

    /// The timestamp of the first sample.
    pub fn first_t(&self) -> TimestampMs {
        self.first_t
    }

    /// The timestamp of the last sample.
    pub fn last_t(&self) -> TimestampMs {
        self.last_t
    }

    /// The start timestamp of the last sample; 0 where unknown.
    pub fn last_start(&self) -> TimestampMs {
        self.last_start
    }

    /// Whether the last sample is a stale marker.
    pub fn last_is_stale(&self) -> bool {
        self.last_stale
    }

    /// The memory on the heap, in bytes; about.
    pub fn heap_bytes(&self) -> usize {
        let spans = self.layout.positive_spans.capacity() + self.layout.negative_spans.capacity();
        self.bits.heap_bytes()
            + self.numbers.heap_bytes()
            + (spans + self.layout.custom_values.capacity()) * 8
    }

    /// The chunk as it is now, as [`super::decode_histograms_into`] reads it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + self.bits.len());
        let head = self.count | (u16::from(self.first_start) << 15);
        bytes.extend_from_slice(&head.to_be_bytes());
        self.bits.copy_to(&mut bytes);
        bytes
    }

    /// The finished chunk, with no byte to spare.
    pub fn close(self) -> Box<[u8]> {
        self.bytes().into_boxed_slice()
    }

    /// `0` in rhythm, `10` off it, `11` four bits that tell what changed, and the changes.
    fn put_time(&mut self, t: TimestampMs, start: TimestampMs, hint: ResetHint, stale: bool) {
        let step = t.wrapping_sub(self.last_t);
        let change = step.wrapping_sub(i64::from(self.step));
        let (other_start, other_hint) = (start != self.last_start, hint != self.last_hint);
        if other_start || other_hint || stale {
            self.bits.put(0b11, 2);
            for bit in [change != 0, other_start, other_hint, stale] {
                self.bits.put_bit(bit);
            }
        } else if change != 0 {
            self.bits.put(0b10, 2);
        } else {
            self.bits.put(0, 1);
        }
        if change != 0 {
            self.bits.put_change(change);
        }
        if other_start {
            let before = start == self.last_t;
            self.bits.put_bit(!before);
            if !before {
                self.bits.put_width(zigzag(t.wrapping_sub(start)));
            }
        }
        if other_hint {
            self.bits.put(hint_bits(hint), 2);
        }
        self.step = rhythm(step);
        (self.last_t, self.last_start, self.last_hint) = (t, start, hint);
    }

    fn put_numbers(&mut self, histogram: &Histogram) {
        self.sum.write(sum_of(histogram), &mut self.bits);
        match (&mut self.numbers, histogram) {
            (Numbers::Whole(numbers), Histogram::Int(int)) => {
                for (number, now) in numbers.iter_mut().zip(whole_numbers(int)) {
                    number.write(now, &mut self.bits);
                }
            }
            (Numbers::Floats(numbers), Histogram::Float(float)) => {
                for (number, now) in numbers.iter_mut().zip(float_numbers(float)) {
                    number.write(now, &mut self.bits);
                }
            }
            _ => debug_assert!(false, "the kinds were compared"),
        }
    }

    /// Whether the last histogram that is no stale marker had the same numbers.
    fn numbers_are(&self, histogram: &Histogram) -> bool {
        if sum_of(histogram).to_bits() != self.sum.last {
            return false;
        }
        match (&self.numbers, histogram) {
            (Numbers::Whole(numbers), Histogram::Int(int)) => {
                numbers.iter().map(|n| n.last).eq(whole_numbers(int))
            }
            (Numbers::Floats(numbers), Histogram::Float(float)) => {
                let now = float_numbers(float).map(f64::to_bits);
                numbers.iter().map(|n| n.last).eq(now)
            }
            _ => false,
        }
    }
}

/// The numbers of an integer histogram in the order of [`Numbers`].
fn whole_numbers(int: &IntHistogram) -> impl Iterator<Item = i64> {
    let zero = int.zero_count as i64;
    let buckets = absolute(&int.positive_deltas).chain(absolute(&int.negative_deltas));
    let explained = buckets.clone().fold(zero, i64::wrapping_add);
    let rest = (int.count as i64).wrapping_sub(explained);
    [rest, zero].into_iter().chain(buckets)
}

fn absolute(deltas: &[i64]) -> impl Iterator<Item = i64> + Clone {
    deltas.iter().scan(0_i64, |bucket, delta| {
        *bucket = bucket.wrapping_add(*delta);
        Some(*bucket)
    })
}

/// The numbers of a float histogram in the order of [`Numbers`].
fn float_numbers(float: &FloatHistogram) -> impl Iterator<Item = f64> {
    let buckets = float.positive_buckets.iter().chain(&float.negative_buckets);
    [float.count, float.zero_count]
        .into_iter()
        .chain(buckets.copied())
}
