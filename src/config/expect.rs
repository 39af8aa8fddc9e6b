//! `[queries.NAME.expect]`: reading quality rules.
//!
//! Two forms: a table with `that` and `on_violation`, and one string as Databricks SQL has it,
//! `price > 0 ON VIOLATION DROP ROW`.

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{ExpectationSettings, ViolationAction};
use super::names::check_name;
use super::section::Section;
use super::text::TextLocation;

const CHOICES: [(&str, ViolationAction); 4] = [
    ("warn", ViolationAction::Warn),
    ("drop", ViolationAction::Drop),
    ("dead_letter", ViolationAction::DeadLetter),
    ("fail", ViolationAction::Fail),
];
/// What others call the same.
const OTHERS: [(&str, &str); 8] = [
    ("keep", "write \"warn\": rows are kept and counted"),
    ("allow", "write \"warn\": rows are kept and counted"),
    ("drop row", "write \"drop\""),
    ("DROP ROW", "write \"drop\""),
    ("fail update", "write \"fail\""),
    ("FAIL UPDATE", "write \"fail\""),
    ("quarantine", "write \"dead_letter\""),
    ("error", "write \"fail\""),
];
const CONDITION: &str = "a condition on the query's columns, such as \"price > 0\"";

/// Only what has errors is left out.
pub(crate) fn read(query: &Section<'_>) -> Vec<ExpectationSettings> {
    if !query.has("expect") {
        return Vec::new();
    }
    let group = query.section("expect");
    let mut rules = Vec::new();
    for entry in group.entries() {
        let mut section = group.named_entry(entry);
        check_name(&section, &entry.key, "expectation");
        let rule = match &entry.node.value {
            Value::Table(_) => {
                section.table_of(entry);
                let that = section.required("that", CONDITION, "\"price > 0\"");
                let on_violation =
                    section.choice("on_violation", &CHOICES, &OTHERS, ViolationAction::Warn);
                section.finish();
                that.map(|found| (found.text.to_owned(), found, on_violation))
            }
            _ => {
                let found = group.as_string(&entry.key, &entry.node, CONDITION);
                found.and_then(|found| {
                    let (that, on_violation) = match short_form(found.text) {
                        Ok(read) => read,
                        Err(words) => {
                            let error = ConfigError::new(format!(
                                "`ON VIOLATION {words}` is not known"
                            ))
                            .expected(
                                "ON VIOLATION DROP ROW, ON VIOLATION FAIL UPDATE, ON VIOLATION \
                                 DEAD LETTER, or nothing, which keeps and counts rows",
                            );
                            group.report(&entry.key, &entry.node.at, error);
                            return None;
                        }
                    };
                    Some((that.to_owned(), found, on_violation))
                })
            }
        };
        let Some((that, found, on_violation)) = rule else { continue };
        let that_location = TextLocation::new(found.node.at.source(), found.offsets());
        let location = entry.key_at.clone();
        let name = entry.key.clone();
        rules.push(ExpectationSettings { name, that, that_location, on_violation, location });
    }
    rules
}

/// `CONDITION [ON VIOLATION ...]`. The condition begins where the text does, so that places in it
/// are places in the text. An error is what stands behind ON VIOLATION.
fn short_form(text: &str) -> Result<(&str, ViolationAction), String> {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split_whitespace().collect();
    let begins = words.windows(2).rposition(|pair| pair == ["ON", "VIOLATION"]);
    let Some(begins) = begins else { return Ok((text, ViolationAction::Warn)) };
    let action = match words[begins + 2..] {
        ["DROP", "ROW"] | ["DROP"] => ViolationAction::Drop,
        ["FAIL", "UPDATE"] | ["FAIL"] => ViolationAction::Fail,
        ["DEAD", "LETTER"] | ["DEAD_LETTER"] => ViolationAction::DeadLetter,
        ["WARN"] => ViolationAction::Warn,
        _ => return Err(words[begins + 2..].join(" ")),
    };
    // The clause's place in the text: the last word ON that VIOLATION follows.
    let mut end = text.len();
    for (at, _) in upper.match_indices("ON") {
        let before = upper[..at].chars().next_back();
        let rest = &upper[at + 2..];
        let is_word = before.is_none_or(char::is_whitespace)
            && rest.trim_start().starts_with("VIOLATION")
            && rest.starts_with(char::is_whitespace);
        if is_word {
            end = at;
        }
    }
    Ok((text[..end].trim_end(), action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_that_of_databricks_sql() {
        use ViolationAction::{DeadLetter, Drop, Fail, Warn};
        for (text, that, action) in [
            ("price > 0", "price > 0", Warn),
            ("price > 0 ON VIOLATION DROP ROW", "price > 0", Drop),
            ("price > 0\n  on violation fail update\n", "price > 0", Fail),
            ("a = 'on' AND b ON VIOLATION DEAD LETTER", "a = 'on' AND b", DeadLetter),
            ("'ÄON violation' = x ON  VIOLATION  DROP", "'ÄON violation' = x", Drop),
            ("on_violation = 1", "on_violation = 1", Warn),
        ] {
            assert_eq!(short_form(text), Ok((that, action)), "{text}");
        }
        assert_eq!(short_form("x ON VIOLATION explode"), Err("EXPLODE".to_owned()));
        assert_eq!(short_form("x ON VIOLATION"), Err(String::new()));
    }
}
