//! When a job is due.

use std::fmt;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A cron schedule in UTC: five fields (minute, hour, day of the month, month, day of the week), six
/// with seconds before them, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| error.to_string())?;
        let schedule = Self { text: text.to_owned(), cron };
        // `0 0 30 2 *`: it can be read, and never comes.
        match schedule.after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err("it never comes".to_owned()),
        }
    }

    /// The first time after `time`.
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&time, false).ok()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_six_and_names() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let next = |schedule: &str, time: &str| Schedule::parse(schedule).unwrap().after(at(time));
        let time = "2026-11-21T10:07:30Z";
        assert_eq!(next("*/5 * * * *", time), Some(at("2026-11-21T10:10:00Z")));
        assert_eq!(next("*/20 * * * * *", time), Some(at("2026-11-21T10:07:40Z")));
        assert_eq!(next("@daily", time), Some(at("2026-11-22T00:00:00Z")));
        for wrong in ["", "soon", "61 * * * *", "0 0 30 2 *", "* * * *"] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
