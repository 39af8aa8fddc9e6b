//! `[queries.NAME]`: reading it.

use std::time::Duration;

use super::diagnostics::ConfigError;
use super::document::Value;
use super::expect;
use super::model::{DropDuplicates, DropWithin, OutputMode, QuerySettings, QuerySink};
use super::names::check_name;
use super::section::Section;
use super::sink;
use super::source::DAY;
use super::text::TextLocation;
use super::units::format_duration;

/// Only what has errors comes back as nothing. `epoch`: the time between two epochs.
pub(crate) fn read(name: &str, section: &Section<'_>, epoch: Duration) -> Option<QuerySettings> {
    check_name(section, name, "query");
    let sql = section.required("sql", "a SELECT statement", "'''SELECT … FROM …'''");
    let mode = section.choice(
        "mode",
        &[
            ("append", OutputMode::Append),
            ("update", OutputMode::Update),
            ("complete", OutputMode::Complete),
        ],
        &[],
        OutputMode::Append,
    );
    let trigger = trigger(section, epoch);
    let drop_duplicates = drop_duplicates(section);
    let state_ttl = section
        .has("state_ttl")
        .then(|| {
            let (least, most) = (Duration::from_millis(1), 3650 * DAY);
            section.duration_or("state_ttl", &[], least, most).flatten()
        })
        .flatten();
    let expect = expect::read(section);
    let sinks = sinks(name, section, mode);
    section.finish();
    let sql = sql?;
    Some(QuerySettings {
        name: name.to_owned(),
        sql: sql.text.to_owned(),
        sql_location: TextLocation::new(sql.node.at.source(), sql.offsets()),
        mode,
        trigger,
        drop_duplicates,
        state_ttl,
        expect,
        sinks: sinks?,
        location: section.header.clone(),
    })
}

fn trigger(section: &Section<'_>, epoch: Duration) -> Option<Duration> {
    let entry = section.entry("trigger")?;
    if let Value::String(text) = &entry.node.value
        && matches!(text.value.as_str(), "available_now" | "once")
    {
        let help = format!("write `trigger = \"{}\"` at the top of the file", text.value);
        let expected = "a duration, such as \"1 minute\"";
        section.reject("trigger", &entry.node, expected, Some(help));
        return None;
    }
    let (least, most) = (Duration::from_millis(1), 365 * DAY);
    let trigger = section.duration_or("trigger", &[], least, most).flatten()?;
    if trigger < epoch {
        let shown = format_duration(epoch);
        let error = ConfigError::new(format!("epochs come every {shown} only"))
            .expected(format!("a duration of {shown} or more"))
            .help("rows go out at the end of an epoch: lower the pipeline's `trigger`".to_owned());
        section.report("trigger", &entry.node.at, error);
        return None;
    }
    Some(trigger)
}

fn drop_duplicates(section: &Section<'_>) -> Option<DropDuplicates> {
    const WITHIN: &str = "watermark";
    if !section.has("drop_duplicates") {
        return None;
    }
    let table = section.section("drop_duplicates");
    let columns = table.some_columns("columns", "names of columns of the query's output");
    let (least, most) = (Duration::from_millis(1), 3650 * DAY);
    let within = table.duration_or("within", &[WITHIN], least, most).unwrap_or(None);
    let clock = [("event", false), ("wall", true)];
    let wall = table.choice("clock", &clock, &[("processing", "write \"wall\"")], false);
    let within = match (within, wall) {
        (Some(duration), false) => DropWithin::EventTime(duration),
        (Some(duration), true) => DropWithin::WallClock(duration),
        (None, false) => DropWithin::Watermark,
        (None, true) => {
            let error = ConfigError::new("the watermark is of event time")
                .expected("a duration as `within`, or `clock = \"event\"`");
            table.report("clock", &table.location("clock"), error);
            DropWithin::Watermark
        }
    };
    table.finish();
    Some(DropDuplicates { columns, within })
}

/// `[queries.NAME.sink]`, or each of `[[queries.NAME.sinks]]`.
fn sinks(query: &str, section: &Section<'_>, mode: OutputMode) -> Option<Vec<QuerySink>> {
    let one = section.entry("sink");
    let many = section.entry("sinks");
    if let (Some(_), Some(many)) = (one, many) {
        let error = ConfigError::new("both `sink` and `sinks` are given").expected("one of them");
        section.report("sinks", &many.key_at, error);
        return None;
    }
    if one.is_some() {
        let section = section.section("sink");
        let (name, settings) = sink::read(&section, mode)?;
        let name = name.map_or_else(|| query.to_owned(), |name| format!("{query}.{name}"));
        return Some(vec![QuerySink { name, settings, location: section.header.clone() }]);
    }
    let mut sinks: Vec<QuerySink> = Vec::new();
    let items = section.items("sinks");
    let count = match many.map(|many| &many.node.value) {
        Some(Value::Array(items)) => items.len(),
        // What is not an array is reported.
        Some(_) => return None,
        None => 0,
    };
    for item in &items {
        let Some((name, settings)) = sink::read(item, mode) else { continue };
        let given = name.is_some();
        let name = match name {
            Some(name) => format!("{query}.{name}"),
            None if sinks.iter().all(|sink| sink.name != query) => query.to_owned(),
            None => format!("{query}.{}", settings.name()),
        };
        if sinks.iter().any(|sink| sink.name.eq_ignore_ascii_case(&name)) {
            let shown = name.strip_prefix(query).unwrap_or(&name).trim_start_matches('.');
            let message = format!("another sink of this query is called `{shown}`");
            let help = (!given).then(|| "without a `name` it is called by its type".to_owned());
            let error = ConfigError::new(message)
                .expected("a `name` of its own: it is in the transactions of what it writes")
                .help(help);
            item.report("name", &item.location("name"), error);
            continue;
        }
        sinks.push(QuerySink { name, settings, location: item.header.clone() });
    }
    (sinks.len() == count).then_some(sinks)
}
