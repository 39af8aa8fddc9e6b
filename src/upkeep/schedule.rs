//! When upkeep is due: cron schedules, and an agenda of what is to be done when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Serialize, Serializer};

/// The first pause after a run that failed; doubled for each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(3600);

/// A cron schedule in UTC: five fields (minute, hour, day of the month, month, day of the week), six
/// with seconds before them, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Arc<Cron>,
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
        let schedule = Self { text: text.to_owned(), cron: Arc::new(cron) };
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

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// What is done to a table on a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Small files are merged.
    Compact,
    /// Rows are put in z-order.
    Zorder,
    /// Files that no version within the retention needs are removed.
    Vacuum,
    /// A checkpoint of the log is written.
    Checkpoint,
    /// Expired commits are removed from the log.
    CleanLog,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Compact, Self::Zorder, Self::Vacuum, Self::Checkpoint, Self::CleanLog];

    /// As a label value, and as the configuration's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Zorder => "zorder",
            Self::Vacuum => "vacuum",
            Self::Checkpoint => "checkpoint",
            Self::CleanLog => "clean_log",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One task of one table.
#[derive(Clone, Debug)]
struct Entry {
    table: usize,
    task: Task,
    schedule: Schedule,
    next: Option<DateTime<Utc>>,
    /// Runs in a row that failed.
    failures: u32,
}

/// Which task of which table is due next. Tables are known by their index.
///
/// Tasks that come due at the same time are done one after the other: by the time they came due,
/// then in the order of [`Task`], so that a table is compacted before it is vacuumed. A task that is
/// missed, because others took long or the clock was set forward, is done once and not as often as it
/// was missed. A task that failed in a way that may heal is tried again after a pause that doubles
/// from half a minute to an hour, or at its next time if that comes first.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    entries: Vec<Entry>,
}

impl Agenda {
    /// Adds a task; its first time is the first after `now`.
    pub fn add(&mut self, table: usize, task: Task, schedule: Schedule, now: DateTime<Utc>) {
        let next = schedule.after(now);
        self.entries.push(Entry { table, task, schedule, next, failures: 0 });
    }

    /// When something is due next; `None`: never.
    pub fn next_at(&self) -> Option<DateTime<Utc>> {
        self.entries.iter().filter_map(|entry| entry.next).min()
    }

    /// When a task is due next.
    pub fn next_of(&self, table: usize, task: Task) -> Option<DateTime<Utc>> {
        self.entries.iter().find(|e| e.table == table && e.task == task)?.next
    }

    /// What is to be done now, if anything is.
    pub fn due(&self, now: DateTime<Utc>) -> Option<(usize, Task)> {
        self.entries
            .iter()
            .filter(|entry| entry.next.is_some_and(|next| next <= now))
            .min_by_key(|entry| (entry.next, entry.table, entry.task))
            .map(|entry| (entry.table, entry.task))
    }

    /// A task is done, or not needed: it is due again at its next time.
    pub fn done(&mut self, table: usize, task: Task, now: DateTime<Utc>) {
        if let Some(entry) = self.entry(table, task) {
            entry.failures = 0;
            entry.next = entry.schedule.after(now);
        }
    }

    /// A task failed; `again`: in a way that may heal before its next time. Returns when it is due.
    pub fn failed(
        &mut self,
        table: usize,
        task: Task,
        again: bool,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let entry = self.entry(table, task)?;
        let scheduled = entry.schedule.after(now);
        if again {
            let pause = FIRST_PAUSE.saturating_mul(1 << entry.failures.min(16)).min(LAST_PAUSE);
            entry.failures = entry.failures.saturating_add(1);
            let retry = TimeDelta::from_std(pause).ok().and_then(|p| now.checked_add_signed(p));
            entry.next = [scheduled, retry].into_iter().flatten().min();
        } else {
            entry.next = scheduled;
        }
        entry.next
    }

    /// Nothing is due any more, at any time.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&mut self, table: usize, task: Task) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.table == table && entry.task == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        crate::upkeep::parse_timestamp(text).unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap()
    }

    #[test]
    fn five_fields_six_and_names_are_schedules() {
        let now = at("2026-11-21 10:17:30");
        for (text, next) in [
            ("@hourly", "2026-11-21 11:00:00"),
            ("@daily", "2026-11-22 00:00:00"),
            ("17 * * * *", "2026-11-21 11:17:00"),
            ("*/20 * * * *", "2026-11-21 10:20:00"),
            ("*/10 * * * * *", "2026-11-21 10:17:40"),
            ("30 3 * * SUN", "2026-11-22 03:30:00"),
        ] {
            assert_eq!(schedule(text).after(now), Some(at(next)), "{text}");
        }
        for text in ["", "hourly", "61 * * * *", "* * *", "* * * * * * *", "0 0 30 2 *"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_missed_is_done_once_and_in_order() {
        let mut now = at("2026-11-21 10:30:00");
        let mut agenda = Agenda::default();
        agenda.add(0, Task::Vacuum, schedule("@hourly"), now);
        agenda.add(0, Task::Compact, schedule("@hourly"), now);
        agenda.add(1, Task::Compact, schedule("45 * * * *"), now);
        assert_eq!((agenda.due(now), agenda.next_at()), (None, Some(at("2026-11-21 10:45"))));
        // The machine slept for half a day.
        now = at("2026-11-21 22:10:00");
        let mut done = Vec::new();
        while let Some((table, task)) = agenda.due(now) {
            done.push((table, task));
            agenda.done(table, task, now);
        }
        assert_eq!(done, [(1, Task::Compact), (0, Task::Compact), (0, Task::Vacuum)]);
        assert_eq!(agenda.next_at(), Some(at("2026-11-21 22:45")));
        assert_eq!(agenda.next_of(0, Task::Vacuum), Some(at("2026-11-21 23:00")));
        // The clock is set back: nothing comes sooner for it.
        assert_eq!(agenda.due(at("2026-11-21 12:00")), None);
    }

    #[test]
    fn failures_are_tried_again_at_longer_and_longer_intervals() {
        let mut now = at("2026-11-21 00:00:00");
        let mut agenda = Agenda::default();
        agenda.add(0, Task::Compact, schedule("@daily"), now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let next = agenda.failed(0, Task::Compact, true, now).unwrap();
            pauses.push((next - now).num_seconds());
            now = next;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        // What no retry mends waits for its time, and so does what has been mended.
        assert_eq!(agenda.failed(0, Task::Compact, false, now), Some(at("2026-11-22")));
        agenda.done(0, Task::Compact, now);
        assert_eq!(agenda.next_at(), Some(at("2026-11-22")));
        assert_eq!(agenda.failed(0, Task::Compact, true, now), Some(now + TimeDelta::seconds(30)));
        // A retry never comes later than the schedule would have it.
        let late = at("2026-11-21 23:59:50");
        assert_eq!(agenda.failed(0, Task::Compact, true, late), Some(at("2026-11-22")));
    }
}
