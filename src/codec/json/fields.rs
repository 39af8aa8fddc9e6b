//! The fields of an object, and the guess which of them comes next.
//!
//! A producer writes the same fields in the same order with the same white space, record after
//! record. So the text between two values (`,"status_code":`) is learnt as a *step*, and each step
//! remembers the two that followed it last. When one of them stands in the payload, byte for
//! byte, the comma, the key, the colon and all white space have been parsed and looked up by one
//! comparison. When none does, the text is parsed as any JSON, and what it was is learnt. A guess
//! is never trusted: the text has to be there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use super::column::Column;
use super::cursor::{Cursor, Fail};
use super::scan::Pattern;
use super::{Formats, UnknownFields};
use crate::codec::Reason;

/// What to do with the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Skip,
    Column(usize),
}

#[derive(Debug)]
struct Step {
    /// From the end of the value before to the start of this field's value.
    text: Pattern,
    target: Target,
    /// The steps that followed this one last, the latest first.
    next: [usize; 2],
}

/// Before the first field. As a guess it never comes true (its text is empty).
const START: usize = 0;
/// After a field that was not learnt.
const LOST: usize = 1;

/// Longer texts are not learnt, and when there are more of them all are forgotten: objects whose
/// keys never repeat must not fill the memory.
const MAX_STEP_BYTES: usize = 128;
const MAX_STEPS: usize = 1024;

/// The columns that the fields of an object go into.
#[derive(Debug)]
pub(super) struct Fields {
    columns: Vec<Column>,
    rows: usize,
    by_name: HashMap<Box<[u8]>, Target>,
    unknown: UnknownFields,
    steps: Vec<Step>,
    by_text: HashMap<Box<[u8]>, usize>,
}

impl Fields {
    /// `unread`: the names of fields that may be there though no column takes them.
    pub fn new<'a>(
        columns: Vec<Column>,
        unread: impl IntoIterator<Item = &'a str>,
        unknown: UnknownFields,
    ) -> Self {
        let mut by_name: HashMap<Box<[u8]>, Target> =
            unread.into_iter().map(|name| (name.as_bytes().into(), Target::Skip)).collect();
        by_name.extend(
            columns
                .iter()
                .enumerate()
                .map(|(index, column)| (column.name().as_bytes().into(), Target::Column(index))),
        );
        let mut fields =
            Self { columns, rows: 0, by_name, unknown, steps: Vec::new(), by_text: HashMap::new() };
        fields.forget();
        fields
    }

    /// See [`Column::set_formats`].
    pub fn set_formats(&mut self, formats: &Formats) {
        self.columns.iter_mut().for_each(|column| column.set_formats(formats));
    }

    fn forget(&mut self) {
        self.by_text.clear();
        self.steps.clear();
        for _ in [START, LOST] {
            let text = Pattern::new(b"");
            self.steps.push(Step { text, target: Target::Skip, next: [START; 2] });
        }
    }

    /// How many objects (or nulls in place of one) there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Appends the object that starts here to the columns; `depth` counts it. After a failure the
    /// columns must be truncated.
    #[inline]
    pub fn append(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fail> {
        cursor.enter(depth)?;
        let mut found = 0;
        let mut step = START;
        while let Some(target) = self.next_field(cursor, &mut step)? {
            match target {
                Target::Skip => cursor.skip_value(depth)?,
                Target::Column(index) => {
                    let column = &mut self.columns[index];
                    if column.len() > self.rows {
                        column.truncate(self.rows); // a field that comes twice: the last counts
                    } else {
                        found += 1;
                    }
                    column.append(cursor, depth)?;
                }
            }
        }
        if found < self.columns.len() {
            self.append_missing(cursor)?;
        }
        self.rows += 1;
        Ok(())
    }

    #[inline(never)]
    fn append_missing(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fail> {
        for column in &mut self.columns {
            if column.len() == self.rows {
                column.append_missing(cursor)?;
            }
        }
        Ok(())
    }

    /// Moves to the value of the next field, or past the end of the object (None).
    #[inline(always)]
    fn next_field(
        &mut self,
        cursor: &mut Cursor<'_>,
        step: &mut usize,
    ) -> Result<Option<Target>, Fail> {
        if cursor.peek() == Some(b'}') {
            cursor.at += 1;
            return Ok(None);
        }
        let guess = self.steps[*step].next[0];
        let next = &self.steps[guess];
        if next.text.stands_at(cursor.bytes, cursor.at) {
            cursor.at += next.text.len();
            cursor.space(); // this time there may be more of it than there was
            *step = guess;
            return Ok(Some(next.target));
        }
        self.other_field(cursor, step)
    }

    #[inline(never)]
    fn other_field(
        &mut self,
        cursor: &mut Cursor<'_>,
        step: &mut usize,
    ) -> Result<Option<Target>, Fail> {
        let [first, second] = self.steps[*step].next;
        let next = &self.steps[second];
        if next.text.stands_at(cursor.bytes, cursor.at) {
            let target = next.target;
            cursor.at += next.text.len();
            cursor.space();
            self.steps[*step].next = [second, first];
            *step = second;
            return Ok(Some(target));
        }
        let start = cursor.at;
        let Some(key) = next_key(cursor, *step == START)? else { return Ok(None) };
        // Most often it is known, but was not expected here.
        cursor.skip_string()?;
        cursor.colon()?;
        let text = &cursor.bytes[start..cursor.at];
        let (found, target) = match self.by_text.get(text) {
            Some(&found) => (found, self.steps[found].target),
            None => {
                let target = self.target(cursor, key)?;
                (self.learn(text, target, step), target)
            }
        };
        if found != LOST && *step != LOST {
            let next = &mut self.steps[*step].next;
            *next = [found, next[0]];
        }
        *step = found;
        Ok(Some(target))
    }

    /// Where the field whose key starts at `key` goes.
    fn target(&self, cursor: &mut Cursor<'_>, key: usize) -> Result<Target, Fail> {
        let mut scratch = Vec::new();
        let value = std::mem::replace(&mut cursor.at, key);
        let name = cursor.text(&mut scratch)?;
        cursor.at = value;
        match (self.by_name.get(name), self.unknown) {
            (Some(target), _) => Ok(*target),
            (None, UnknownFields::Ignore) => Ok(Target::Skip),
            (None, UnknownFields::Reject) => {
                let unknown = cursor.fail_at(key, Reason::UnknownField);
                cursor.blame(&name_for_error(name));
                unknown
            }
        }
    }

    /// The new step for a text, or LOST. `step`, where we are, may have to be forgotten.
    fn learn(&mut self, text: &[u8], target: Target, step: &mut usize) -> usize {
        if text.len() > MAX_STEP_BYTES {
            return LOST;
        }
        if self.steps.len() == MAX_STEPS {
            self.forget();
            *step = LOST;
        }
        self.steps.push(Step { text: Pattern::new(text), target, next: [START; 2] });
        self.by_text.insert(text.into(), self.steps.len() - 1);
        self.steps.len() - 1
    }

    /// Appends a row of nulls, for a STRUCT that is null.
    pub fn push_null(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
        self.rows += 1;
    }

    /// Drops the rows from `rows` on, and what a failed `append` left.
    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.rows = self.rows.min(rows);
    }

    /// What the rows take, in bytes.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// Takes the rows as arrays.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.rows = 0;
        // All of them, so that after an error none is ahead of the others.
        let arrays: Vec<_> = self.columns.iter_mut().map(Column::finish).collect();
        arrays.into_iter().collect()
    }
}

/// Moves to the next key of an object (and says where that is), or past the object's end.
fn next_key(cursor: &mut Cursor<'_>, first: bool) -> Result<Option<usize>, Fail> {
    if first {
        cursor.at += 1; // the brace
        cursor.space();
        if cursor.take(b'}') {
            return Ok(None);
        }
    } else if !cursor.comma_or(b'}', "',' or '}'")? {
        return Ok(None);
    }
    if cursor.peek() != Some(b'"') {
        return cursor.expected("a key");
    }
    Ok(Some(cursor.at))
}

/// A name out of a payload, cut to what a dead letter can show.
#[cold]
fn name_for_error(name: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(&name[..name.len().min(128)]).into()
}
