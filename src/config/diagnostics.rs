//! Where something stands in a file, and errors that show it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::secret::MASK;

/// Lines longer than this are cut around the caret.
const WIDEST: usize = 120;

/// A file of configuration, or one override, as it was read.
pub(crate) struct SourceFile {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
    /// Byte ranges that must never be shown; known once the file is parsed.
    masked: OnceLock<Vec<Range<usize>>>,
}

impl SourceFile {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Arc::new(Self { name: name.into(), text, lines, masked: OnceLock::new() })
    }

    /// Names the byte ranges that errors must not show. Only the first call counts.
    pub(crate) fn mask(&self, mut ranges: Vec<Range<usize>>) {
        ranges.sort_by_key(|range| range.start);
        let _already_set = self.masked.set(ranges);
    }

    fn masked_at(&self, offset: usize) -> Option<&Range<usize>> {
        self.masked.get()?.iter().find(|range| range.contains(&offset))
    }

    /// Index of the line that holds `offset`.
    fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Byte range of a line, without its line ending.
    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        start..end
    }
}

/// A place in a file of configuration: a range of its bytes.
#[derive(Clone)]
pub struct Location {
    file: Arc<SourceFile>,
    span: Range<usize>,
}

impl Location {
    /// `span` is brought to character boundaries inside the file.
    pub(crate) fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let floor = |mut at: usize| {
            at = at.min(file.text.len());
            while !file.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        Self { file: Arc::clone(file), span: start..floor(span.end).max(start) }
    }

    /// The file's path as it was given, or `--set KEY` for an override.
    pub fn file(&self) -> &str {
        &self.file.name
    }

    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.file.line_at(self.span.start) + 1
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        let line = self.file.line_range(self.file.line_at(self.span.start));
        // An offset inside a line ending (`\r\n`) lies behind the line's last character.
        let end = self.span.start.min(line.end);
        self.file.text[line.start..end].chars().count() + 1
    }

    pub(crate) fn source(&self) -> &Arc<SourceFile> {
        &self.file
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line this is on, with a caret under the place; secrets masked.
    fn excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.file.line_at(self.span.start);
        let range = self.file.line_range(line);
        let mut shown: Vec<char> = Vec::new();
        let (mut from, mut to) = (None, None);
        // Where the mask that is being skipped ends in the file, and where it starts in `shown`.
        let (mut mask_end, mut mask_start) = (0, 0);
        for (at, c) in self.file.text[range.clone()].char_indices() {
            let at = range.start + at;
            if at >= mask_end
                && let Some(masked) = self.file.masked_at(at)
            {
                mask_end = masked.end;
                mask_start = shown.len();
                shown.extend(MASK.chars());
            }
            let masked = at < mask_end;
            if at >= self.span.start {
                from.get_or_insert(if masked { mask_start } else { shown.len() });
            }
            if at >= self.span.end {
                to.get_or_insert(shown.len());
            }
            if masked {
                continue;
            }
            // A terminal must not act on what a file holds; tabs would move the caret.
            shown.push(if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            });
        }
        let from = from.unwrap_or(shown.len()).min(shown.len());
        let to = to.unwrap_or(shown.len()).max(from + 1);
        let left = if shown.len() > WIDEST { from.saturating_sub(WIDEST / 3) } else { 0 };
        let right = shown.len().min(left + WIDEST);
        let text: String = shown[left..right].iter().collect();
        let (before, after) =
            (if left > 0 { "…" } else { "" }, if right < shown.len() { "…" } else { "" });
        let number = (line + 1).to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(from - left + before.chars().count());
        let carets = "^".repeat(to.min(right.max(from + 1)) - from);
        writeln!(f, " {gutter}--> {}:{}:{}", self.file(), self.line(), self.column())?;
        writeln!(f, " {gutter} |")?;
        writeln!(f, " {number} | {}", format!("{before}{text}{after}").trim_end())?;
        writeln!(f, " {gutter} | {indent}{carets}")
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that is wrong with a configuration.
///
/// `Display` is the whole report, several lines ending in a line break:
///
/// ```text
/// error: unknown key `shard`
///   --> weblogs.toml:3:1
///    |
///  3 | shard = 4
///    | ^^^^^
///    = key: shard
///    = help: did you mean `shards`?
/// ```
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// What is wrong, in one line.
    pub message: String,
    /// Where; absent if no file is at fault (a file that is missing).
    pub location: Option<Location>,
    /// The key path, as it would be written for `--set`.
    pub key: Option<String>,
    /// What would have been right.
    pub expected: Option<String>,
    /// What to do about it, or the nearest valid name.
    pub help: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), location: None, key: None, expected: None, help: None }
    }

    pub(crate) fn at(mut self, location: &Location) -> Self {
        self.location = Some(location.clone());
        self
    }

    pub(crate) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        let mut gutter = 1;
        if let Some(location) = &self.location {
            location.excerpt(f)?;
            gutter = location.line().to_string().len();
        }
        let gutter = " ".repeat(gutter);
        for (label, text) in
            [("key", &self.key), ("expected", &self.expected), ("help", &self.help)]
        {
            let Some(text) = text else { continue };
            let indent = " ".repeat(label.len() + 2);
            for (n, line) in text.lines().enumerate() {
                if n == 0 {
                    writeln!(f, " {gutter} = {label}: {line}")?;
                } else {
                    writeln!(f, " {gutter}   {indent}{line}")?;
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration, in the order of its files; never empty.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Sorted by place: files in the order in which `files` names them, then by line.
    pub(crate) fn new(mut errors: Vec<ConfigError>, files: &[Arc<SourceFile>]) -> Self {
        let rank = |error: &ConfigError| match &error.location {
            None => (0, 0),
            Some(location) => {
                let file = files.iter().position(|file| Arc::ptr_eq(file, &location.file));
                (file.map_or(usize::MAX, |file| file + 1), location.span.start)
            }
        };
        errors.sort_by_key(rank);
        Self { errors }
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    pub fn len(&self) -> usize {
        self.errors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub fn into_vec(self) -> Vec<ConfigError> {
        self.errors
    }
}

/// Gathers errors that other rooms found in one configuration, to show them together.
impl From<Vec<ConfigError>> for ConfigErrors {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self { errors }
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self { errors: vec![error] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        match self.errors.len() {
            1 => write!(f, "1 error in the configuration"),
            n => write!(f, "{n} errors in the configuration"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
