//! When what is out of line is news: one alert for an incident, and fewer for a series that
//! alerts often.
//!
//! After an alert there is quiet for a time of event time, unless something comes that is far
//! further out of line than what the alert was for; and every alert raises the bar for the next
//! by a part that fades over days, as people stop reading alerts that come too often.

use super::DetectorError;
use super::state::{Reader, Writer};

/// How a [`News`] judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Microseconds of event time after an alert in which there is no other...
    pub quiet: i64,
    /// ...unless it is this many times as far out.
    pub louder: f64,
    /// By how much an alert raises the bar for those after it.
    pub weariness: f64,
    /// Microseconds in which that fades to a third (1/e).
    pub fading: f64,
}

/// State of one series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct News {
    /// Start of the window of the last alert, and how far out it was.
    last: Option<(i64, f64)>,
    /// By how much the bar is raised, as of the last window.
    weary: f64,
    /// Start of the last window.
    at: Option<i64>,
}

impl News {
    /// Takes in how far out of line the window that starts at `now` is, where 1 is the threshold.
    /// Gives the bar that it was held against, of at least 1: above it, it is news.
    pub fn step(&mut self, now: i64, far: f64, patience: &Patience) -> f64 {
        if let Some(before) = self.at {
            let passed = now.saturating_sub(before).max(0) as f64;
            self.weary *= (-passed / patience.fading).exp();
        }
        self.at = Some(now);
        let mut bar = 1.0 + self.weary;
        if let Some((at, top)) = self.last
            && now.saturating_sub(at) < patience.quiet
        {
            bar = bar.max(top * patience.louder);
        }
        if far > bar {
            self.last = Some((now, far));
            self.weary += patience.weariness;
        }
        bar
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.time(self.last.map(|(at, _)| at));
        if let Some((_, top)) = self.last {
            out.f64(top);
        }
        out.f64(self.weary);
        out.time(self.at);
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let last = match input.time()? {
            Some(at) => Some((at, input.f64()?)),
            None => None,
        };
        Ok(News { last, weary: input.f64()?.max(0.0), at: input.time()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const PATIENCE: Patience =
        Patience { quiet: 12 * HOUR, louder: 3.0, weariness: 0.5, fading: 96.0 * HOUR as f64 };

    #[test]
    fn one_alert_for_an_incident_and_another_for_a_worse_one() {
        let mut news = News::default();
        let mut alert = |hour: i64, far: f64| far > news.step(hour * HOUR, far, &PATIENCE);
        assert!(!alert(0, 0.9));
        assert!(alert(1, 2.0));
        assert!(!alert(2, 5.0));
        assert!(alert(3, 7.0));
        assert!(!alert(14, 7.0));
        // Two alerts in the last day: twice the threshold less what has faded.
        assert!(!alert(15, 1.8));
        assert!(alert(16, 2.0));
    }
}
