//! Time travel: `t VERSION AS OF 3`, `t TIMESTAMP AS OF '2026-11-21'`, `t@v3`, `t@20261121100000000`.
//!
//! The parser does not know these in Spark's dialect. So they are found among the words before it,
//! and the table's name carries a mark in their place, which is looked up again in the parsed query.

use std::ops::ControlFlow;

use chrono::NaiveDateTime;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Spanned, TableAlias, TableFactor, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use crate::sql::{SqlError, spark_dialect, syntax_error};

/// Begins the mark behind a name. No text can hold it.
const MARK: char = '\u{1}';

/// The version of a table that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AsOf {
    Version(i64),
    /// The newest version that was committed by then: an expression that has to be evaluated.
    Timestamp(Box<Expr>),
    /// The same, in microseconds since the Unix epoch.
    Time(i64),
}

impl AsOf {
    /// As it stands in names and messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Version(version) => format!("v{version}"),
            Self::Timestamp(expr) => expr.to_string(),
            Self::Time(us) => us.to_string(),
        }
    }
}

/// The versions that a statement asks for, by the marks that stand for them.
#[derive(Debug, Clone, Default)]
pub(super) struct TimeTravel(Vec<AsOf>);

/// A table in FROM.
#[derive(Debug, Clone)]
pub(super) struct Mentioned {
    /// Its name, without quotes and without the version.
    pub(super) parts: Vec<String>,
    pub(super) as_of: Option<AsOf>,
    /// What the query calls it from now on.
    pub(super) key: String,
    pub(super) span: Span,
}

impl TimeTravel {
    /// Takes the versions out of a statement's words.
    ///
    /// # Errors
    /// A version that is no number, a time that is no expression.
    pub(super) fn take(tokens: &[TokenWithSpan]) -> Result<(Vec<TokenWithSpan>, Self), SqlError> {
        let mut travel = Self::default();
        let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let name = out.iter().rposition(|t| !matches!(t.token, Token::Whitespace(_)));
            let behind_name = name.is_some_and(|name| ends_a_name(&out[name].token));
            let found = match (behind_name, name) {
                (true, Some(name)) => clause(tokens, at)?.map(|(as_of, used)| (name, as_of, used)),
                _ => None,
            };
            match found {
                Some((name, as_of, used)) => {
                    travel.mark(&mut out[name].token, as_of);
                    out.truncate(name + 1);
                    at += used;
                }
                None => {
                    out.push(token.clone());
                    at += 1;
                }
            }
        }
        Ok((out, travel))
    }

    fn mark(&mut self, name: &mut Token, as_of: AsOf) {
        if let Token::Word(word) = name {
            let value = format!("{}{MARK}{}", word.value, self.0.len());
            // In quotes, so that it is a name whatever it looks like.
            *word = Word { value, quote_style: Some('`'), keyword: Keyword::NoKeyword };
            self.0.push(as_of);
        }
    }

    /// The version that the last part of a name carries, and the name without it. A name in
    /// backquotes may end in a version too: `` `t@v3` ``.
    pub(super) fn of(&self, parts: &[String]) -> (Option<AsOf>, Vec<String>) {
        let mut parts = parts.to_vec();
        let Some(last) = parts.last_mut() else { return (None, parts) };
        if let Some((name, index)) = last.clone().split_once(MARK) {
            let as_of = index.parse().ok().and_then(|index: usize| self.0.get(index).cloned());
            *last = name.to_owned();
            return (as_of, parts);
        }
        if let Some((name, version)) = last.clone().rsplit_once('@')
            && !name.is_empty()
            && let Some(as_of) = short(version)
        {
            *last = name.to_owned();
            return (Some(as_of), parts);
        }
        (None, parts)
    }

    /// A message of the parser without marks.
    pub(super) fn shown(&self, text: &str) -> String {
        match text.split_once(MARK) {
            None => text.to_owned(),
            Some((before, after)) => {
                let digits = after.chars().take_while(char::is_ascii_digit).count();
                format!("{before}{}", self.shown(after.get(digits..).unwrap_or_default()))
            }
        }
    }

    /// The tables of FROM, each under a key of its own version, by which the query has it from now
    /// on; a table without an alias gets the last part of its name as one.
    pub(super) fn mentions(&self, query: &mut Query) -> Vec<Mentioned> {
        let mut mentions = Mentions { travel: self, found: vec![] };
        let _ = query.visit(&mut mentions);
        let found = mentions.found;
        let _ = query.visit(&mut Qualified { tables: &found });
        found
    }
}

/// Whether a name may end with this word. `RESTORE t TO VERSION AS OF 3` is read as it stands.
fn ends_a_name(token: &Token) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("to"))
}

/// The clause that begins at `at`: the version, and of how many tokens it is.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Result<Option<(AsOf, usize)>, SqlError> {
    // `t@v3`: no blanks in it.
    if tokens[at].token == Token::AtSign {
        let text = match tokens.get(at + 1).map(|token| &token.token) {
            Some(Token::Word(word)) => word.value.clone(),
            Some(Token::Number(number, _)) => number.clone(),
            _ => String::new(),
        };
        let Some(as_of) = short(&text) else {
            return Err(SqlError::new(format!("'@{text}' is not a version"))
                .hint("write t@v3, or t@ and a time as yyyyMMddHHmmssSSS")
                .at(tokens[at].span));
        };
        return Ok(Some((as_of, 2)));
    }
    let mut words = Cursor { tokens, at };
    let _ = words.word("FOR");
    let version = words.word("VERSION") || words.word("SYSTEM_VERSION");
    let time = !version && (words.word("TIMESTAMP") || words.word("SYSTEM_TIME"));
    if !(version || time) || !words.word("AS") || !words.word("OF") {
        return Ok(None);
    }
    words.skip_blanks();
    let Some(value) = tokens.get(words.at) else { return Ok(None) };
    if version {
        let number = match &value.token {
            Token::Number(text, _) | Token::SingleQuotedString(text) => text.parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number.filter(|number| *number >= 0) else {
            return Err(SqlError::new(format!("'{}' is not a version", value.token))
                .hint("write VERSION AS OF and a number; DESCRIBE HISTORY t lists them")
                .at(value.span));
        };
        return Ok(Some((AsOf::Version(number), words.at + 1 - at)));
    }
    let rest: Vec<TokenWithSpan> = tokens[words.at..].to_vec();
    let mut parser = Parser::new(spark_dialect()).with_tokens_with_locations(rest.clone());
    let expr = parser.parse_expr().map_err(|error| syntax_error(&error))?;
    // What the parser did not take is not blank at its beginning.
    let next = parser.peek_token();
    let used = match next.token {
        Token::EOF => rest.len(),
        _ => rest.iter().position(|token| token.span == next.span).unwrap_or(rest.len()),
    };
    Ok(Some((AsOf::Timestamp(Box::new(expr)), words.at + used - at)))
}

/// What stands behind `@`: `v3`, or a time as `yyyyMMddHHmmssSSS`.
fn short(text: &str) -> Option<AsOf> {
    if let Some(version) = text.strip_prefix(['v', 'V'])
        && let Ok(version) = version.parse::<i64>()
        && version >= 0
    {
        return Some(AsOf::Version(version));
    }
    if text.len() == 17 && text.chars().all(|c| c.is_ascii_digit()) {
        let (seconds, millis) = text.split_at(14);
        let time = NaiveDateTime::parse_from_str(seconds, "%Y%m%d%H%M%S").ok()?;
        let millis: i64 = millis.parse().ok()?;
        return Some(AsOf::Time(time.and_utc().timestamp_micros() + millis * 1_000));
    }
    None
}

struct Cursor<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        while matches!(self.tokens.get(self.at).map(|t| &t.token), Some(Token::Whitespace(_))) {
            self.at += 1;
        }
    }

    fn word(&mut self, expected: &str) -> bool {
        let before = self.at;
        self.skip_blanks();
        let is_it = matches!(self.tokens.get(self.at).map(|t| &t.token), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected));
        self.at = if is_it { self.at + 1 } else { before };
        is_it
    }
}

struct Mentions<'a> {
    travel: &'a TimeTravel,
    found: Vec<Mentioned>,
}

impl VisitorMut for Mentions<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let written: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(|id| id.value.clone()).collect();
        let (as_of, parts) = self.travel.of(&written);
        let span = name.span();
        let key = match &as_of {
            None => parts.join("."),
            Some(as_of) => format!("{}@{}", parts.join("."), as_of.shown()),
        };
        // A plain name is its own alias, and may be that of a subquery of WITH.
        if (parts.len() > 1 || as_of.is_some())
            && alias.is_none()
            && let Some(last) = parts.last()
        {
            let name = Ident::new(last.trim_end_matches('/').rsplit('/').next().unwrap_or(last));
            *alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
        }
        let ident = Ident { value: key.clone(), quote_style: None, span };
        *name = ObjectName(vec![ObjectNamePart::Identifier(ident)]);
        if !self.found.iter().any(|known| known.key == key) {
            self.found.push(Mentioned { parts, as_of, key, span });
        }
        ControlFlow::Continue(())
    }
}

/// `bronze.logs.endpoint` is `logs.endpoint` where `bronze.logs` is in FROM.
struct Qualified<'a> {
    tables: &'a [Mentioned],
}

impl VisitorMut for Qualified<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [schema, table, _, ..] = idents.as_slice()
        {
            let named = |mentioned: &Mentioned| match mentioned.parts.as_slice() {
                [of, name] => {
                    of.eq_ignore_ascii_case(&schema.value)
                        && name.eq_ignore_ascii_case(&table.value)
                }
                _ => false,
            };
            if self.tables.iter().any(named) {
                idents.remove(0);
            }
        }
        ControlFlow::Continue(())
    }
}
