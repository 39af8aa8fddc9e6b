//! The members of an object, without their values being read.

use std::ops::Range;

use super::cursor::{Cursor, Fail};
use super::not_an_object;
use crate::codec::{Reason, RecordError};

/// Shows `visit` the key of each member of the object that `document` is, and where its value stands.
/// The whole document is checked, as values that no query reads are.
pub(in crate::codec) fn members(
    document: &[u8],
    max_depth: usize,
    mut visit: impl FnMut(&[u8], Range<usize>),
) -> Result<(), RecordError> {
    let mut cursor = Cursor::new(document, max_depth);
    match walk(&mut cursor, &mut visit) {
        Ok(()) => Ok(()),
        Err(Fail) => Err(cursor.into_fault()),
    }
}

fn walk(cursor: &mut Cursor<'_>, visit: &mut impl FnMut(&[u8], Range<usize>)) -> Result<(), Fail> {
    cursor.space();
    match cursor.peek() {
        Some(b'{') => cursor.at += 1,
        None => return cursor.fail(Reason::Empty),
        Some(_) => return not_an_object(cursor),
    }
    cursor.space();
    let mut scratch = Vec::new();
    if !cursor.take(b'}') {
        loop {
            if cursor.peek() != Some(b'"') {
                return cursor.expected("a key");
            }
            let key = cursor.text(&mut scratch)?;
            cursor.colon()?;
            let start = cursor.at;
            cursor.skip_value(1)?;
            visit(key, start..cursor.at);
            if !cursor.comma_or(b'}', "',' or '}'")? {
                break;
            }
        }
    }
    cursor.space();
    match cursor.peek() {
        None => Ok(()),
        Some(_) => cursor.fail(Reason::TrailingData),
    }
}
