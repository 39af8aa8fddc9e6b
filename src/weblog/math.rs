//! Functions whose results do not depend on the platform.
//!
//! The standard library's `ln`, `exp` and their kin come from the platform's libm and may differ
//! in the last bit, which would end up in the bytes of a record. Here there are only additions,
//! multiplications, divisions and square roots, which IEEE 754 defines exactly.

use std::f64::consts::{LN_2, SQRT_2};

/// The natural logarithm of a positive, normal `x`; NaN otherwise.
///
/// `x = m * 2^e` with `m` in [sqrt(1/2), sqrt(2)), and `ln m = 2 artanh((m - 1) / (m + 1))`,
/// whose series converges quickly since its argument is below 0.172.
pub(super) fn ln(x: f64) -> f64 {
    if !x.is_normal() || x < 0.0 {
        return f64::NAN;
    }
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if m > SQRT_2 {
        m /= 2.0;
        exponent += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut term = s;
    let mut sum = 0.0;
    for odd in (1..27).step_by(2) {
        sum += term / f64::from(odd);
        term *= square;
    }
    exponent * LN_2 + 2.0 * sum
}

/// e to the power of `x`, for `x` in -700..700 (clamped to it).
///
/// `x = k ln 2 + r` with `r` in [-ln 2 / 2, ln 2 / 2]; Taylor's series for `r`.
pub(super) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let k = (x / LN_2 + 0.5).floor();
    let r = x - k * LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..20 {
        term *= r / f64::from(n);
        sum += term;
    }
    // k is within -1010..=1010, so the biased exponent is that of a normal number.
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

/// The standard normal distribution's quantile for a probability in 0..1, both excluded (clamped).
///
/// P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution
/// function" (2003); relative error below 1.15e-9.
pub(super) fn normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e+01,
        2.209460984245205e+02,
        -2.759285104469687e+02,
        1.383_577_518_672_69e2,
        -3.066479806614716e+01,
        2.506628277459239e+00,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e+01,
        1.615858368580409e+02,
        -1.556989798598866e+02,
        6.680131188771972e+01,
        -1.328068155288572e+01,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-03,
        -3.223964580411365e-01,
        -2.400758277161838e+00,
        -2.549732539343734e+00,
        4.374664141464968e+00,
        2.938163982698783e+00,
    ];
    const D: [f64; 4] = [
        7.784695709041462e-03,
        3.224671290700398e-01,
        2.445134137142996e+00,
        3.754408661907416e+00,
    ];
    const TAIL: f64 = 0.02425;

    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let p = probability.clamp(1e-300, 1.0 - 1e-16);
    let tail = |p: f64| {
        let q = (-2.0 * ln(p)).sqrt();
        horner(&C, q) / (horner(&D, q) * q + 1.0)
    };
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        horner(&A, r) * q / (horner(&B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, wanted: f64, tolerance: f64) {
        assert!((got - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{got} for {wanted}");
    }

    #[test]
    fn ln_and_exp_agree_with_libm() {
        for x in [1e-300, 1e-9, 0.3, 0.5, 1.0, 1.414, 1.415, 2.0, 10.0, 12345.678, 1e200] {
            close(ln(x), x.ln(), 1e-14);
        }
        for x in [-700.0, -30.5, -1.0, -0.1, 0.0, 1e-9, 0.3, 1.0, 17.25, 650.0] {
            close(exp(x) / x.exp(), 1.0, 1e-12);
        }
        assert!(ln(0.0).is_nan() && ln(-1.0).is_nan() && ln(f64::INFINITY).is_nan());
    }

    #[test]
    fn normal_quantiles_agree_with_tables() {
        for (p, z) in
            [(0.5, 0.0), (0.841_344_746, 1.0), (0.975, 1.959_963_985), (0.001, -3.090_232_306)]
        {
            close(normal_quantile(p), z, 1e-7);
        }
        assert!(normal_quantile(0.0).is_finite() && normal_quantile(1.0).is_finite());
    }
}
