//! Text functions with Java's regular expressions' habits: `regexp_extract`, `regexp_replace`,
//! `split`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{
    PlainFunction, array_argument, constant_text, scalar_text, text_argument, wrap, wrong_count,
};

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new(
            "regexp_extract",
            |types| match types {
                [text, _] => Ok(vec![text_argument("regexp_extract", text)?, DataType::Utf8]),
                [text, _, _] => Ok(vec![
                    text_argument("regexp_extract", text)?,
                    DataType::Utf8,
                    DataType::Int64,
                ]),
                other => wrong_count("regexp_extract", "text, a pattern and an index", other.len()),
            },
            |_| Ok(DataType::Utf8),
            regexp_extract,
        )
        .check(|args| check_regex("regexp_extract", args)),
        PlainFunction::new(
            "regexp_replace",
            |types| match types {
                [_, _, _] => Ok(vec![DataType::Utf8; 3]),
                other => {
                    wrong_count("regexp_replace", "text, a pattern and a replacement", other.len())
                }
            },
            |_| Ok(DataType::Utf8),
            regexp_replace,
        )
        .check(|args| check_regex("regexp_replace", args)),
        PlainFunction::new(
            "split",
            |types| match types {
                [_, _] => Ok(vec![DataType::Utf8; 2]),
                [_, _, _] => Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Int64]),
                other => wrong_count("split", "text, a pattern and perhaps a limit", other.len()),
            },
            |_| Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))),
            split,
        )
        .check(|args| check_regex("split", args)),
    ]
}

fn check_regex(name: &str, args: &[Option<&ScalarValue>]) -> Result<()> {
    let Some(Some(pattern)) = args.get(1) else {
        return plan_err!("{name}: the pattern must be a constant");
    };
    if let Some(pattern) = scalar_text(pattern)
        && let Err(error) = compile_regex(pattern, None)
    {
        return plan_err!("{name}: '{pattern}' is not a regular expression: {error}");
    }
    Ok(())
}

fn texts(args: &ScalarFunctionArgs) -> Result<StringArray> {
    let array = array_argument(args, 0)?;
    Ok(cast(&array, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn constant_number(args: &ScalarFunctionArgs, index: usize) -> Result<i64> {
    let array = array_argument(args, index)?;
    match array.as_primitive_opt::<Int64Type>() {
        Some(numbers) if !numbers.is_empty() && numbers.is_valid(0) => Ok(numbers.value(0)),
        _ => exec_err!("the index must be a number"),
    }
}

fn null_of(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_type())?))
}

/// The `index`th group (1 if not given) of the first match; empty text if nothing matches.
fn regexp_extract(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(pattern) = constant_text(args, 1, "the pattern")? else { return null_of(args) };
    let regex = compile_regex(pattern, None)?;
    let group = if args.args.len() > 2 { constant_number(args, 2)? } else { 1 };
    let group = match usize::try_from(group) {
        Ok(group) if group < regex.captures_len() => group,
        _ => return exec_err!("'{pattern}' has no group {group}"),
    };
    let texts = texts(args)?;
    let mut builder = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    for text in &texts {
        match text {
            Some(text) => {
                let found = regex.captures(text).and_then(|captures| captures.get(group));
                builder.append_value(found.map_or("", |found| found.as_str()));
            }
            None => builder.append_null(),
        }
    }
    wrap(args, Arc::new(builder.finish()))
}

/// Replaces every match; `$1` in the replacement is the first group, as in Java.
fn regexp_replace(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(pattern) = constant_text(args, 1, "the pattern")? else { return null_of(args) };
    let Some(replacement) = constant_text(args, 2, "the replacement")? else {
        return null_of(args);
    };
    let regex = compile_regex(pattern, None)?;
    let replacement = java_replacement(replacement);
    let texts = texts(args)?;
    let replaced: StringArray = texts
        .iter()
        .map(|text| text.map(|text| regex.replace_all(text, replacement.as_str())))
        .collect();
    wrap(args, Arc::new(replaced))
}

/// Java's replacement text in the form of Rust's: `$1x` is group 1 and an x, `\$` a dollar.
fn java_replacement(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            '$' => {
                let mut number = String::new();
                while let Some(digit) = chars.peek().filter(|ch| ch.is_ascii_digit()) {
                    number.push(*digit);
                    chars.next();
                }
                if number.is_empty() {
                    out.push_str("$$");
                } else {
                    out.push_str(&format!("${{{number}}}"));
                }
            }
            other => out.push(other),
        }
    }
    out
}

/// Cuts text at every match; at most `limit` pieces if that is positive.
fn split(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(pattern) = constant_text(args, 1, "the pattern")? else { return null_of(args) };
    let regex = compile_regex(pattern, None)?;
    let limit = if args.args.len() > 2 { constant_number(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let texts = texts(args)?;
    let mut builder = ListBuilder::new(StringBuilder::new());
    for text in &texts {
        let Some(text) = text else {
            builder.append_null();
            continue;
        };
        let mut pieces = regex.splitn(text, limit).peekable();
        // Java gives no empty piece before a match of nothing at the very front.
        if pieces.peek() == Some(&"")
            && !text.is_empty()
            && regex.find_at(text, 0).is_some_and(|m| m.end() == 0)
        {
            pieces.next();
        }
        for piece in pieces {
            builder.values().append_value(piece);
        }
        builder.append(true);
    }
    let list: ArrayRef = Arc::new(builder.finish());
    wrap(args, list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_follow_java() {
        assert_eq!(java_replacement("a$1b"), "a${1}b");
        assert_eq!(java_replacement(r"\$5"), "$$5");
        assert_eq!(java_replacement("$"), "$$");
        assert_eq!(java_replacement(r"\"), r"\");
    }
}
