//! The keys of sources of `type = "files"`, `"socket"` and `"rate"`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::diagnostics::ConfigError;
use super::super::model::{
    AfterFile, FileCompression, FileOrder, FilesSettings, RateSettings, SocketSettings,
};
use super::super::section::Section;
use super::DAY;

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn read(section: &Section<'_>) -> Option<FilesSettings> {
    let path = files_path(section, "\"./events\"");
    let recursive = section.boolean("recursive", false);
    let compression = section.choice(
        "compression",
        &[
            ("auto", FileCompression::Auto),
            ("none", FileCompression::None),
            ("gzip", FileCompression::Gzip),
            ("zstd", FileCompression::Zstd),
        ],
        &[("gz", "write \"gzip\""), ("zst", "write \"zstd\"")],
        FileCompression::Auto,
    );
    let max_files_per_trigger = section.count("max_files_per_trigger", 1, u64::from(u32::MAX));
    let order = section.choice(
        "order",
        &[("oldest", FileOrder::Oldest), ("newest", FileOrder::Newest)],
        &[("earliest", "write \"oldest\""), ("latest", "write \"newest\"")],
        FileOrder::Oldest,
    );
    let settle = section.duration("settle", Duration::from_secs(1), Duration::ZERO, DAY);
    let poll_interval = poll_interval(section);
    let max_file_age = section
        .duration_or("max_file_age", &["never"], Duration::from_secs(1), 3650 * DAY)
        .flatten();
    let after = after(section);
    Some(FilesSettings {
        path: path?,
        recursive,
        compression,
        max_files_per_trigger,
        order,
        settle,
        poll_interval,
        max_file_age,
        after: after?,
    })
}

pub(super) fn poll_interval(section: &Section<'_>) -> Duration {
    section.duration("poll_interval", Duration::from_secs(1), 10 * MILLISECOND, DAY)
}

/// A directory, a file or a glob pattern.
pub(crate) fn files_path(section: &Section<'_>, example: &str) -> Option<String> {
    const PATH: &str = "a directory, a file, or a glob pattern such as \"logs/*.json\"";
    let found = section.required("path", PATH, example)?;
    if found.unresolved {
        return Some(found.text.to_owned());
    }
    let help = match found.text.split_once("://") {
        Some(("file", path)) => return Some(path.to_owned()),
        Some(_) => "only local and mounted directories can be read".to_owned(),
        None if found.text.contains('\0') => "a path has no such character".to_owned(),
        None => match globset::GlobBuilder::new(found.text).literal_separator(true).build() {
            Ok(_) => return Some(found.text.to_owned()),
            Err(error) => format!("the pattern is not valid: {}", error.kind()),
        },
    };
    section.reject("path", found.node, PATH, Some(help));
    None
}

/// `after`: nothing if it has errors.
fn after(section: &Section<'_>) -> Option<AfterFile> {
    const EXPECTED: &str = "`keep`, `delete` or { archive = \"./archive\" }";
    let Some(entry) = section.entry("after") else { return Some(AfterFile::Keep) };
    if entry.node.as_table().is_none() {
        let choices = [("keep", false), ("delete", true)];
        let refused =
            [("archive", "say where to: { archive = \"./archive\" }"), ("off", "write \"keep\"")];
        let delete = section.choose_of("after", &entry.node, &choices, &refused, EXPECTED)?;
        return Some(if delete { AfterFile::Delete } else { AfterFile::Keep });
    }
    let table = section.section("after");
    let archive = table.required("archive", "a directory", "\"./archive\"");
    table.finish();
    Some(AfterFile::Archive(PathBuf::from(archive?.text)))
}

pub(super) fn read_socket(section: &Section<'_>) -> Option<SocketSettings> {
    const HOST: &str = "a name or an address, such as \"localhost\"";
    let host = section.required("host", HOST, "\"localhost\"");
    if let Some(found) = host.filter(|found| !found.unresolved) {
        let text = found.text;
        if text.contains("://") || text.contains(['/', ' ', '[', ']']) {
            section.reject("host", found.node, HOST, None);
        } else if text.matches(':').count() == 1 {
            let help = "the port is a key of its own: `port`".to_owned();
            section.reject("host", found.node, HOST, Some(help));
        }
    }
    let port = port(section, None);
    let (initial_backoff, max_backoff) = backoff(section);
    Some(SocketSettings { host: host?.text.to_owned(), port: port?, initial_backoff, max_backoff })
}

/// `port`, which has to be there if there is no default.
pub(crate) fn port(section: &Section<'_>, default: Option<u16>) -> Option<u16> {
    if !section.has("port") {
        if default.is_none() {
            section.missing("port", "9999");
        }
        return default;
    }
    let port = section.integer("port", 1, 65_535).and_then(|port| u16::try_from(port).ok());
    // What is not known yet stands for one that is valid.
    port.or(Some(default.unwrap_or(1)))
}

/// `initial_backoff` and `max_backoff`.
fn backoff(section: &Section<'_>) -> (Duration, Duration) {
    let initial = section.duration("initial_backoff", 500 * MILLISECOND, MILLISECOND, DAY);
    let max = section.duration("max_backoff", Duration::from_secs(30), MILLISECOND, DAY);
    if max < initial {
        let key = if section.has("max_backoff") { "max_backoff" } else { "initial_backoff" };
        let error = ConfigError::new("`max_backoff` is shorter than `initial_backoff`")
            .expected("an `initial_backoff` of at most `max_backoff`");
        section.report(key, &section.location(key), error);
    }
    (initial, max)
}

pub(super) fn read_rate(section: &Section<'_>) -> RateSettings {
    let rows_per_second = section.integer("rows_per_second", 1, 1_000_000_000).unwrap_or(1);
    let ramp_up = section.duration("ramp_up", Duration::ZERO, Duration::ZERO, 365 * DAY);
    if ramp_up.subsec_nanos() != 0 {
        let error = ConfigError::new("the rate goes up once a second")
            .expected("a duration of whole seconds");
        section.report("ramp_up", &section.location("ramp_up"), error);
    }
    RateSettings { rows_per_second, ramp_up }
}
