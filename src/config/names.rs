//! What users may call things.

use super::diagnostics::ConfigError;
use super::section::Section;

/// Sources and queries are named in SQL, detectors in metrics; one rule for all.
pub(crate) fn check_name(section: &Section<'_>, name: &str, what: &str) {
    let mut characters = name.chars();
    let valid = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid && name.len() <= 128 {
        return;
    }
    let help = super::names::repaired(name).map(|name| format!("`{name}` would do"));
    let shown: String = name.chars().take(60).collect();
    section.context.report(
        ConfigError::new(format!("`{}` cannot be the name of a {what}", shown.escape_debug()))
            .at(&section.header)
            .key(super::document::write_path(&section.path))
            .expected("letters, digits and `_`, not beginning with a digit, at most 128")
            .help(help),
    );
}

/// The nearest name that is valid.
fn repaired(name: &str) -> Option<String> {
    let mut repaired: String =
        name.chars().take(128).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if repaired.starts_with(|c: char| c.is_ascii_digit()) {
        repaired.insert(0, '_');
        repaired.truncate(128);
    }
    repaired.contains(|c: char| c.is_ascii_alphanumeric()).then_some(repaired)
}
