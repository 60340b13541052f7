//! Reading the number in front of a unit, exactly.
//!
//! Sizes, spans and CPU shares are all "a decimal number, then a unit". Floating point would make
//! `0.1` of something a rounding question, so a number is kept as digits and scaled in integers.

/// A non-negative decimal number: `whole + fraction / 10^digits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    whole: u64,
    fraction: u64,
    digits: u32,
}

/// More digits after the point than anyone means; it also keeps `fraction` far from overflow.
const MAX_FRACTION_DIGITS: usize = 12;

impl Decimal {
    /// Splits `text` into the number it starts with and the rest.
    ///
    /// `None` when it does not start with a digit, when a point has no digit after it, or when the
    /// number does not fit.
    pub(crate) fn split(text: &str) -> Option<(Decimal, &str)> {
        let (whole, rest) = split_digits(text);
        let whole: u64 = whole.parse().ok()?;
        let Some(after_point) = rest.strip_prefix('.') else {
            return Some((Decimal { whole, fraction: 0, digits: 0 }, rest));
        };
        let (fraction, rest) = split_digits(after_point);
        if fraction.is_empty() || fraction.len() > MAX_FRACTION_DIGITS {
            return None;
        }
        let digits = u32::try_from(fraction.len()).ok()?;
        Some((Decimal { whole, fraction: fraction.parse().ok()?, digits }, rest))
    }

    /// Whether the number was written with a point.
    pub(crate) fn has_point(self) -> bool {
        self.digits > 0
    }

    /// The number times `unit`, rounded down, and whether nothing was lost in rounding.
    ///
    /// `None` when the product is beyond `u64`.
    pub(crate) fn times(self, unit: u64) -> Option<(u64, bool)> {
        let scale = 10u128.pow(self.digits);
        let parts = u128::from(self.fraction) * u128::from(unit);
        let product = u128::from(self.whole) * u128::from(unit) + parts / scale;
        Some((u64::try_from(product).ok()?, parts % scale == 0))
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
