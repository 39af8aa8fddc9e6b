//! What is wrong with a query, where, and what to do about it.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// An error in a query's text, or in evaluating it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// What is wrong, and why.
    pub message: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
    /// Line and column (both from 1, in characters) in the SQL text.
    pub location: Option<(usize, usize)>,
}

impl SqlError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, location: None }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, span: Span) -> Self {
        self.location = location(span.start).or(self.location);
        self
    }

    /// Like [`at`](Self::at), unless a more exact position is known.
    #[must_use]
    pub(crate) fn or_at(self, span: Span) -> Self {
        if self.location.is_some() { self } else { self.at(span) }
    }

    #[must_use]
    pub(crate) fn at_location(mut self, location: Option<(usize, usize)>) -> Self {
        self.location = location.or(self.location);
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.location {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

/// A position of the parser, unless it is its mark for "nowhere" (line 0).
pub(crate) fn location(at: Location) -> Option<(usize, usize)> {
    let line = usize::try_from(at.line).ok()?;
    let column = usize::try_from(at.column).ok()?;
    (line > 0).then_some((line, column))
}

/// The candidate closest to `word` (Jaro-Winkler, ignoring case), if any is close enough to be a
/// likely slip of the pen.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const CLOSE: f64 = 0.78;
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// `did you mean 'x'?`, or else the list of what there is.
pub(crate) fn suggestion<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    kind: &str,
) -> String {
    match nearest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean '{candidate}'?"),
        None => {
            let all: Vec<&str> = candidates.into_iter().collect();
            if all.is_empty() {
                format!("there are no {kind}")
            } else {
                format!("the {kind} are {}", all.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["endpoint", "status_code", "response_time_ms"];
        assert_eq!(nearest("endpiont", names), Some("endpoint"));
        assert_eq!(nearest("STATUS", names), Some("status_code"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(suggestion("zzz", ["a", "b"], "columns"), "the columns are a, b");
    }

    #[test]
    fn position_and_hint_are_shown() {
        let error = SqlError::new("unknown column 'x'").hint("did you mean 'y'?");
        let error = error.at_location(Some((2, 7)));
        assert_eq!(error.to_string(), "line 2, column 7: unknown column 'x'; did you mean 'y'?");
    }
}
