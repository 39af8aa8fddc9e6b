//! Exponentially weighted mean and variance.

use super::DetectorError;
use super::state::{Reader, Writer};

/// Mean and variance in which older values fade (T. Finch, "Incremental calculation of weighted
/// mean and variance", 2009); plain ones while there are few values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    pub level: f64,
    variance: f64,
    pub values: u32,
}

impl Moments {
    /// Takes in the next value with the weight `smoothing`, or that of a plain mean if that is
    /// more.
    pub fn add(&mut self, value: f64, smoothing: f64) {
        self.values = self.values.saturating_add(1);
        let gain = smoothing.max(1.0 / f64::from(self.values));
        let off = value - self.level;
        self.level += gain * off;
        self.variance = ((1.0 - gain) * (self.variance + gain * off * off)).max(0.0);
    }

    /// Standard deviation; of `n` values, with the divisor n.
    pub fn deviation(&self) -> f64 {
        self.variance.sqrt()
    }

    /// Starts anew at another level, with the deviation so far.
    pub fn at_level(&self, level: f64, values: u32) -> Self {
        Moments { level, variance: self.variance, values }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f64(self.level);
        out.f64(self.variance);
        out.varint(u64::from(self.values));
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let (level, variance) = (input.f64()?, input.f64()?);
        if variance < 0.0 {
            return Err(input.corrupt("a variance is negative"));
        }
        Ok(Moments { level, variance, values: input.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_their_plain_mean_and_deviation() {
        let mut moments = Moments::default();
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            moments.add(value, 0.01);
        }
        assert!((moments.level - 5.0).abs() < 1e-12);
        assert!((moments.deviation() - 2.0).abs() < 1e-12);
    }
}
