//! Floats as whole numbers, where they are ones in disguise, and the state that guesses the
//! next of them.

/// How the values of a chunk are written at a place: as multiples of something, or as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode(u8);

/// What a value is multiplied with to become whole, by mode: 0 to 9 decimals, then memory pages.
const SCALES: [f64; 11] = [
    1.0,
    10.0,
    100.0,
    1e3,
    1e4,
    1e5,
    1e6,
    1e7,
    1e8,
    1e9,
    1.0 / 4096.0,
];

/// Adding and taking away 1.5 × 2^52 rounds to whole numbers, as long as they are under 2^51.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Whole numbers stay under this, 2^51.
const WHOLE_END: f64 = 2_251_799_813_685_248.0;

impl Mode {
    /// Whole numbers as they are.
    pub(super) const WHOLE: Self = Self(0);
    /// Multiples of 4,096.
    const PAGES: Self = Self(10);
    /// Bits, XORed with the value before.
    pub(super) const XOR: Self = Self(15);

    /// The mode of four bits of a chunk.
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        match u8::try_from(bits) {
            Ok(mode @ (0..=10 | 15)) => Some(Self(mode)),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        u64::from(self.0)
    }

    /// The narrowest mode for a value at the start of a chunk.
    pub(super) fn first(value: f64) -> Self {
        let pages = value != 0.0 && value % 4096.0 == 0.0 && Self::PAGES.whole(value).is_some();
        if pages {
            return Self::PAGES;
        }
        Self::from_decimals(0, value)
    }

    /// The mode to go on with where `value` does not fit this one. A value that says nothing
    /// about the next ones (NaN, infinite, negative zero) changes nothing.
    pub(super) fn next(self, value: f64) -> Self {
        let odd = !value.is_finite() || (value == 0.0 && value.is_sign_negative());
        match self {
            Self::XOR => Self::first(value),
            _ if odd => self,
            Self::PAGES => Self::from_decimals(0, value),
            Self(decimals) => Self::from_decimals(decimals + 1, value),
        }
    }

    /// The fewest decimals, from a number of them on, that write the value; or its bits.
    fn from_decimals(from: u8, value: f64) -> Self {
        let mut modes = (from..10).map(Self);
        modes
            .find(|mode| mode.whole(value).is_some())
            .unwrap_or(Self::XOR)
    }

    /// What the whole numbers of this mode are divided by. Not for [`Mode::XOR`].
    #[inline(always)]
    pub(super) fn scale(self) -> f64 {
        SCALES[usize::from(self.0).min(SCALES.len() - 1)]
    }

    /// The whole number of a value that is known to have one.
    #[inline(always)]
    pub(super) fn whole_of(self, value: f64) -> i64 {
        ((value * self.scale() + ROUND) - ROUND) as i64
    }

    /// The whole number that stands for exactly this value, if there is one. Not for
    /// [`Mode::XOR`].
    #[inline(always)]
    pub(super) fn whole(self, value: f64) -> Option<i64> {
        let scale = self.scale();
        let scaled = value * scale;
        let rounded = (scaled + ROUND) - ROUND;
        let exact = scaled.abs() < WHOLE_END && (rounded / scale).to_bits() == value.to_bits();
        exact.then_some(rounded as i64)
    }
}

/// Guesses how far the next whole number is from the last, and how wrong that guess will be.
/// Writer and reader keep the same state and feed it the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    /// The mean step, in eighths.
    pub(super) slope: i32,
    /// The bits of a residual that are written as they are, in quarters.
    pub(super) spread: u8,
}

/// Quotients from here on are outliers and written with their width.
pub(super) const QUOTIENT_END: u64 = 8;

/// How the quotient of a residual moves `spread`: the fewest bits are spent where about half of
/// the quotients are zero.
const SPREAD_MOVES: [i8; QUOTIENT_END as usize] = [-2, 0, 2, 3, 4, 5, 6, 7];

impl Guess {
    /// Whole numbers have 51 bits, so that more low bits than this are never needed.
    const SPREAD_MAX: u8 = 50 * 4;

    /// Knows nothing.
    pub(super) const fn fresh() -> Self {
        Self {
            slope: 0,
            spread: 0,
        }
    }

    /// The step that is expected.
    #[inline(always)]
    pub(super) fn step(self) -> i64 {
        i64::from(self.slope >> 3)
    }

    /// The bits of the residual that follow its quotient, at most 50.
    #[inline(always)]
    pub(super) fn low_bits(self) -> u32 {
        u32::from(self.spread >> 2)
    }

    /// Learns from a step whose residual had a quotient under [`QUOTIENT_END`].
    #[inline(always)]
    pub(super) fn learn(&mut self, step: i64, quotient: u64) {
        let moved = SPREAD_MOVES[(quotient & (QUOTIENT_END - 1)) as usize];
        let spread = i32::from(self.spread) + i32::from(moved);
        self.spread = spread.clamp(0, i32::from(Self::SPREAD_MAX)) as u8;
        let slope = i64::from(self.slope);
        self.set_slope(slope.wrapping_add(step).wrapping_sub(slope >> 3));
    }

    /// Learns from an outlier: the first is all that is known, later ones only widen.
    #[inline]
    pub(super) fn learn_outlier(&mut self, step: i64, width: u32) {
        if *self == Self::fresh() {
            self.set_slope(step.saturating_mul(8));
            self.spread = (width.saturating_sub(2) * 4).min(u32::from(Self::SPREAD_MAX)) as u8;
        } else {
            self.spread = (self.spread + 8).min(Self::SPREAD_MAX);
        }
    }

    /// A slope beyond 32 bits stays at their end: a bad guess costs bits, not truth.
    #[inline(always)]
    fn set_slope(&mut self, slope: i64) {
        self.slope = slope.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    }
}
