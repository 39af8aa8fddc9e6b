//! Completion in the shell: keywords, functions, tables, and the columns of the tables that the
//! statement names.

use std::cell::RefCell;
use std::collections::HashMap;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::lakesql::{KEYWORDS, Session, function_names, is_complete};

/// What a line editor asks while a statement is typed.
pub(super) struct SqlHelper {
    session: Session,
    functions: Vec<String>,
    /// Of tables that were asked for; none for those that cannot be read.
    columns: RefCell<HashMap<String, Vec<String>>>,
    history: HistoryHinter,
}

impl SqlHelper {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            functions: function_names(),
            columns: RefCell::default(),
            history: HistoryHinter::default(),
        }
    }

    /// Forgets columns: a statement may have changed them.
    pub(super) fn refresh(&self) {
        self.columns.borrow_mut().clear();
    }

    /// What may stand at the end of `text`, whose last word begins at the position returned.
    fn candidates(&self, text: &str) -> (usize, Vec<String>) {
        let start = text
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '.' | '\\'))
            .last()
            .map_or(text.len(), |(at, _)| at);
        let word = &text[start..];
        if word.starts_with('\\') {
            let commands = super::shell::COMMANDS.iter().map(|(name, ..)| format!("\\{name}"));
            return (start, commands.filter(|name| name.starts_with(word)).collect());
        }
        let mut found: Vec<String> = vec![];
        let lower = word.to_lowercase();
        let mut offer = |name: &str| {
            let fits = name.to_lowercase().starts_with(&lower) && name.len() > word.len();
            if fits && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        };
        for name in self.tables() {
            offer(&name);
        }
        // `t.column`: what stands before the dot stays.
        let (qualifier, rest) = word.rsplit_once('.').map_or(("", word), |(q, rest)| (q, rest));
        let mut columns = self.columns_named_in(text);
        columns.sort();
        columns.dedup();
        for column in &columns {
            if column.to_lowercase().starts_with(&rest.to_lowercase()) && !rest.is_empty()
                || (rest.is_empty() && !qualifier.is_empty())
            {
                let name = match qualifier {
                    "" => column.clone(),
                    qualifier => format!("{qualifier}.{column}"),
                };
                offer(&name);
            }
        }
        if qualifier.is_empty() && !word.is_empty() {
            let small = word.chars().all(|c| !c.is_uppercase());
            for keyword in KEYWORDS {
                offer(&if small { keyword.to_lowercase() } else { (*keyword).to_owned() });
            }
            for function in &self.functions {
                offer(&format!("{function}("));
            }
        }
        (start, found)
    }

    fn tables(&self) -> Vec<String> {
        let mut names = vec![];
        for table in self.session.catalog().tables() {
            names.push(table.name.table().to_owned());
            names.push(table.name.to_string());
        }
        names.extend(self.session.views().into_iter().map(|(name, _)| name));
        names
    }

    fn columns_named_in(&self, text: &str) -> Vec<String> {
        let words: Vec<&str> =
            text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'))).collect();
        let mut columns = vec![];
        for table in self.tables() {
            if !words.iter().any(|word| word.eq_ignore_ascii_case(&table)) {
                continue;
            }
            let mut known = self.columns.borrow_mut();
            let own = known.entry(table.clone()).or_insert_with(|| {
                let sql = format!("SHOW COLUMNS IN {table}");
                let limits = crate::lakesql::Limits {
                    // Whoever presses a key waits for it.
                    timeout: Some(std::time::Duration::from_secs(2)),
                    ..Default::default()
                };
                let answer = self.session.block_on(self.session.execute(&sql, &limits));
                answer.map_or_else(|_| vec![], |answer| names(&answer.batches))
            });
            columns.extend(own.iter().cloned());
        }
        columns
    }
}

fn names(batches: &[arrow::array::RecordBatch]) -> Vec<String> {
    use arrow::array::AsArray as _;
    let columns = batches.iter().filter_map(|batch| batch.column(0).as_string_opt::<i32>());
    columns.flat_map(|column| column.iter().flatten().map(str::to_owned)).collect()
}

impl Helper for SqlHelper {}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(line.get(..pos).unwrap_or(line));
        let pairs = names.into_iter().map(|name| Pair { display: name.clone(), replacement: name });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for SqlHelper {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
        self.history.hint(line, pos, context)
    }
}

impl Highlighter for SqlHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[0m").into()
    }
}

impl Validator for SqlHelper {
    /// A statement ends with a semicolon; a command of the shell with its line.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let whole = text.trim_start().starts_with('\\') || is_complete(text);
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}
