//! DataFusion's errors in words that help the author of a query.

use std::collections::HashSet;

use datafusion::common::{Column, DataFusionError, SchemaError};

use super::error::{SqlError, suggestion};
use super::names::Landmarks;

/// DataFusion's error without its prefixes, with a position if it knows one.
pub(super) fn planning_error(error: &DataFusionError, landmarks: &Landmarks) -> SqlError {
    let location = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(|span| {
        let line = usize::try_from(span.start.line).ok()?;
        let column = usize::try_from(span.start.column).ok()?;
        (line > 0).then_some((line, column))
    });
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref()
    {
        let names: Vec<&str> = valid_fields.iter().map(Column::name).collect();
        return SqlError::new(format!("unknown column '{}'", field.name()))
            .hint(suggestion(field.name(), names, "columns"))
            .at_location(location);
    }
    let message = readable(&root.strip_backtrace());
    let location = location.or_else(|| mentioned_function(&message, landmarks));
    if message.contains("must appear in the GROUP BY clause") {
        return SqlError::new(message)
            .hint("add the column to GROUP BY, or aggregate it")
            .at_location(location.or(landmarks.group_by));
    }
    SqlError::new(message).at_location(location)
}

/// DataFusion's message without the names of its error kinds and its requests for bug reports.
pub(crate) fn readable(text: &str) -> String {
    // A function's own words about its arguments are within DataFusion's.
    if let Some((_, own)) = text.split_once("user-defined coercion failed with: ") {
        let own = own.split("No function matches").next().unwrap_or(own);
        return readable(own.trim_end_matches([' ', '.']));
    }
    // Else the core of a mismatch comes last, after every candidate's own complaint.
    let text = match text.find("No function matches the given name and argument types") {
        Some(start) => &text[start..],
        None => text,
    };
    let mut message = text;
    for prefix in [
        "Internal error: ",
        "Error during planning: ",
        "Execution error: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Arrow error: ",
    ] {
        message = message.strip_prefix(prefix).unwrap_or(message);
    }
    let message = message.split("\nThis issue was likely caused").next().unwrap_or(message);
    let message = message.replace(" You might need to add explicit type casts.", "");
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Where the first function stands whose name is a word of the message.
pub(super) fn mentioned_function(message: &str, landmarks: &Landmarks) -> Option<(usize, usize)> {
    let lower = message.to_lowercase();
    let words: HashSet<&str> = lower.split(|ch: char| !ch.is_alphanumeric() && ch != '_').collect();
    let found = landmarks.functions.iter().find(|(name, _)| words.contains(name.as_str()));
    found.map(|(_, at)| *at)
}
