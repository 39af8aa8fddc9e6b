//! Numbers with their units, short enough for an axis.

/// What a number counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unit {
    /// A bare number: 1.5 k, 2 M.
    #[default]
    None,
    /// Bytes, in powers of 1024: 64 KiB.
    Bytes,
    /// Seconds: 250 ms, 2 min.
    Seconds,
    /// Parts of one, shown as per cent.
    Ratio,
    /// Written behind the number, such as `ms` or `req/s`.
    Named(String),
}

/// The texts of an axis's ticks, which stand `step` apart: all with the same prefix and as many
/// digits as tell them apart.
pub fn tick_labels(values: &[f64], step: f64, unit: &Unit) -> Vec<String> {
    let greatest = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let (factor, suffix) = prefix(greatest, unit);
    let digits = digits_for(step / factor);
    values.iter().map(|value| format!("{}{suffix}", fixed(value / factor, digits))).collect()
}

/// One number by itself, to three or four significant digits.
pub fn short(value: f64, unit: &Unit) -> String {
    let (factor, suffix) = prefix(value.abs(), unit);
    let scaled = value / factor;
    let digits = match scaled.abs() {
        size if size == 0.0 || size >= 100.0 || scaled.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        // Leading zeros do not count: three digits after them, at most ten places.
        size => ((-size.log10()).ceil().clamp(0.0, 8.0)) as usize + 2,
    };
    let mut text = fixed(scaled, digits);
    if text.contains('.') && !text.contains('e') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{suffix}")
}

/// From which number on, what it is divided by, and what is then written behind it.
type Prefix = (f64, f64, &'static str);

const DECIMAL: &[Prefix] =
    &[(0.0, 1.0, ""), (1e4, 1e3, " k"), (1e6, 1e6, " M"), (1e9, 1e9, " G"), (1e12, 1e12, " T")];
const BINARY: &[Prefix] = &[
    (0.0, 1.0, " B"),
    (1024.0, 1024.0, " KiB"),
    (1_048_576.0, 1_048_576.0, " MiB"),
    (1_073_741_824.0, 1_073_741_824.0, " GiB"),
    (1_099_511_627_776.0, 1_099_511_627_776.0, " TiB"),
];
const TIMES: &[Prefix] = &[
    (0.0, 1e-6, " us"),
    (1e-3, 1e-3, " ms"),
    (1.0, 1.0, " s"),
    // 90 s are read more easily than 1.5 min.
    (120.0, 60.0, " min"),
    (7200.0, 3600.0, " h"),
    (172_800.0, 86_400.0, " d"),
];

/// What numbers up to `greatest` are divided by, and what is written behind them.
fn prefix(greatest: f64, unit: &Unit) -> (f64, String) {
    let pick = |prefixes: &[Prefix]| {
        let fit = prefixes.iter().rev().find(|(from, ..)| greatest >= *from);
        fit.map_or((1.0, String::new()), |(_, factor, text)| (*factor, (*text).to_owned()))
    };
    match unit {
        Unit::None => pick(DECIMAL),
        Unit::Bytes => pick(BINARY),
        // Zero has no size to choose by.
        Unit::Seconds if greatest == 0.0 => (1.0, " s".to_owned()),
        Unit::Seconds => pick(TIMES),
        Unit::Ratio => (0.01, " %".to_owned()),
        Unit::Named(name) => {
            let (factor, text) = pick(DECIMAL);
            (factor, format!("{text} {name}"))
        }
    }
}

/// Digits behind the point that tell multiples of `step` apart.
fn digits_for(step: f64) -> usize {
    if !step.is_finite() || step <= 0.0 {
        return 0;
    }
    // A step of 2.5 needs one more than its size says.
    let least = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let scaled = step * 10f64.powi(least as i32);
    if (scaled - scaled.round()).abs() > 1e-6 { least + 1 } else { least }
}

fn fixed(value: f64, digits: usize) -> String {
    if value.abs() >= 1e9 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.digits$}");
    // A zero has no sign.
    if text.starts_with('-') && text.trim_start_matches(['-', '0', '.']).is_empty() {
        return text.trim_start_matches('-').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_share_a_prefix_and_their_digits() {
        let labels = tick_labels(&[0.0, 5e5, 1e6, 1.5e6], 5e5, &Unit::None);
        assert_eq!(labels, ["0.0 M", "0.5 M", "1.0 M", "1.5 M"]);
        assert_eq!(tick_labels(&[0.0, 2.5, 5.0], 2.5, &Unit::None), ["0.0", "2.5", "5.0"]);
        assert_eq!(tick_labels(&[0.0, 0.25], 0.25, &Unit::None), ["0.00", "0.25"]);
        assert_eq!(tick_labels(&[0.0, 0.5], 0.5, &Unit::Ratio), ["0 %", "50 %"]);
        assert_eq!(
            tick_labels(&[0.0, 0.2, 0.4], 0.2, &Unit::Seconds),
            ["0 ms", "200 ms", "400 ms"]
        );
        assert_eq!(tick_labels(&[-0.0, 65_536.0], 65_536.0, &Unit::Bytes), ["0 KiB", "64 KiB"]);
        assert_eq!(
            tick_labels(&[0.0, 20_000.0], 20_000.0, &Unit::Named("req/s".into())),
            ["0 k req/s", "20 k req/s"]
        );
    }

    #[test]
    fn a_number_by_itself_is_short() {
        let shown: Vec<String> = [0.0, 7.0, 3.17159, 42.42, 1234.0, 56_789.0, 0.001_234, -2.5]
            .iter()
            .map(|value| short(*value, &Unit::None))
            .collect();
        assert_eq!(shown, ["0", "7", "3.17", "42.4", "1234", "56.8 k", "0.00123", "-2.5"]);
        assert_eq!(short(0.0456, &Unit::Ratio), "4.56 %");
        assert_eq!(short(0.25, &Unit::Seconds), "250 ms");
        assert_eq!(short(300.0, &Unit::Seconds), "5 min");
        assert_eq!(short(1e300, &Unit::None), "1.000e288 T");
    }
}
