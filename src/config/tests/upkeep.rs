//! `[upkeep]` and `upkeep` of a sink.

use std::time::Duration;

use super::*;
use crate::config::{Compression, When, parse_str};

const BASE: &str = r#"
name = "p"
data_dir = "d"
[sources.s]
type = "rate"
[queries.q]
sql = "SELECT value FROM s"
sink = { type = "delta", path = "t" SINK }
"#;

fn with(upkeep: &str, sink: &str) -> Result<Settings, ConfigErrors> {
    parse_str("p.toml", &format!("{}\n{upkeep}", BASE.replace("SINK", sink)), &Environment::None)
}

fn shown(when: &When) -> String {
    when.schedule().map_or("off".to_owned(), ToString::to_string)
}

#[test]
fn without_the_table_there_is_no_upkeep() {
    let settings = with("", "").unwrap();
    assert_eq!(settings.upkeep_of(delta(&settings, 0).upkeep.as_deref()), None);
}

#[test]
fn an_empty_table_has_the_defaults_and_a_sink_says_what_is_different() {
    let settings = with("[upkeep]", "").unwrap();
    let upkeep = settings.upkeep_of(delta(&settings, 0).upkeep.as_deref()).unwrap();
    let all =
        [&upkeep.compact, &upkeep.zorder, &upkeep.vacuum, &upkeep.checkpoint, &upkeep.clean_log];
    assert_eq!(all.map(shown), ["@hourly", "off", "@daily", "@hourly", "@daily"]);
    assert_eq!((upkeep.min_files, upkeep.threads, upkeep.retain), (8, 1, None));
    assert_eq!(upkeep.compression, Compression::Zstd(1));

    let own = r#", upkeep = { compact = "*/5 * * * *", zorder = "30 3 * * *",
        zorder_by = ["value"], vacuum = "off", retain = "8 days" }"#
        .replace('\n', " ");
    let settings =
        with("[upkeep]\nvacuum = \"@weekly\"\nmin_files = 3\nthreads = 2", &own).unwrap();
    let upkeep = settings.upkeep_of(delta(&settings, 0).upkeep.as_deref()).unwrap();
    let all = [&upkeep.compact, &upkeep.zorder, &upkeep.vacuum];
    assert_eq!(all.map(shown), ["*/5 * * * *", "30 3 * * *", "off"]);
    assert_eq!((upkeep.min_files, upkeep.threads), (3, 2));
    assert_eq!(upkeep.retain, Some(Duration::from_secs(8 * 86_400)));
    assert_eq!(upkeep.zorder_by, ["value"]);
    assert!(settings.upkeep_of(None).is_some(), "other tables have the defaults");

    let settings = with("", ", upkeep = { }").unwrap();
    assert!(settings.upkeep_of(delta(&settings, 0).upkeep.as_deref()).is_some());
    let settings = with("[upkeep]", ", upkeep = { enabled = false }").unwrap();
    assert_eq!(settings.upkeep_of(delta(&settings, 0).upkeep.as_deref()), None);
}

#[test]
fn schedules_and_keys_are_checked() {
    for (upkeep, said) in [
        ("compact = \"hourly\"", "did you mean `@hourly`?"),
        ("compact = \"61 * * * *\"", "a cron schedule in UTC"),
        ("compact = \"0 0 30 2 *\"", "it never comes"),
        ("vaccum = \"@daily\"", "did you mean `vacuum`?"),
        ("min_files = 1", "min_files"),
        ("retain = \"7\"", "add a unit"),
        ("target_file_size = \"1KiB\"", "64KiB"),
        ("compression = \"gzip\"", "zstd"),
    ] {
        let error = with(&format!("[upkeep]\n{upkeep}"), "").unwrap_err().to_string();
        assert!(error.contains(said), "{upkeep}: {error}");
    }
}
