//! From a text to its statements: Spark SQL's SELECT, and the statements of Delta Lake around it.
//!
//! The words come from sqlparser's tokenizer and the queries and expressions from its parser; only
//! the few statements that it does not know as Delta has them are put together here.

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Spanned};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::travel::{AsOf, TimeTravel};
use crate::sql::{SqlError, bounded, nearest, spark_dialect, syntax_error, tokenize};

/// One statement that can be executed.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    Query(TravelQuery),
    Explain { query: TravelQuery, analyze: bool },
    CreateView { name: TableRef, replace: bool, query: TravelQuery },
    DropView { name: TableRef, if_exists: bool },
    ShowTables { schema: Option<String>, like: Option<String> },
    ShowSchemas,
    ShowColumns { table: TableRef },
    ShowFunctions { like: Option<String> },
    Describe { table: TableRef },
    History { table: TableRef, limit: Option<usize> },
    Detail { table: TableRef },
    Optimize { table: TableRef, filter: Option<String>, zorder: Vec<String> },
    Vacuum { table: TableRef, retain_hours: Option<f64>, dry_run: bool },
    Restore { table: TableRef, to: AsOf },
}

impl Statement {
    /// What it would change, if it changes anything that others see.
    pub(super) fn writes(&self) -> Option<&'static str> {
        match self {
            Self::Optimize { .. } => Some("OPTIMIZE"),
            Self::Vacuum { dry_run: false, .. } => Some("VACUUM"),
            Self::Restore { .. } => Some("RESTORE"),
            _ => None,
        }
    }
}

/// A query, and the versions of tables that its text asks for.
#[derive(Debug, Clone)]
pub(super) struct TravelQuery {
    pub(super) query: Box<Query>,
    pub(super) travel: TimeTravel,
}

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableRef {
    /// Without their quotes.
    pub(super) parts: Vec<String>,
    pub(super) span: Span,
}

impl TableRef {
    pub(super) fn new(name: &ObjectName) -> Self {
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        Self { parts: parts.map(|ident| ident.value.clone()).collect(), span: name.span() }
    }
}

/// The text of one statement, with its place in the text that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// The statement, without the semicolon.
    pub text: String,
    /// Line and column, from 1, of its first word.
    pub at: (usize, usize),
    pub(super) tokens: Vec<TokenWithSpan>,
}

/// The statements of a text, split at semicolons; empty ones are left out.
///
/// # Errors
/// A quote or comment without its end.
pub fn split(text: &str) -> Result<Vec<StatementText>, SqlError> {
    let tokens = tokenize(text)?;
    let mut statements = vec![];
    let mut current: Vec<TokenWithSpan> = vec![];
    for token in tokens {
        if token.token == Token::SemiColon {
            statements.extend(statement(text, std::mem::take(&mut current)));
        } else {
            current.push(token);
        }
    }
    statements.extend(statement(text, current));
    Ok(statements)
}

/// Whether a text ends where a statement does: with a semicolon that is in no quote and no comment.
/// An error of the tokenizer (an open quote) means that there is more to come.
pub fn is_complete(text: &str) -> bool {
    let Ok(tokens) = tokenize(text) else { return false };
    let last = tokens.iter().rev().find(|t| !is_blank(&t.token));
    last.is_none_or(|last| last.token == Token::SemiColon)
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_) | Token::EOF)
}

fn statement(text: &str, tokens: Vec<TokenWithSpan>) -> Option<StatementText> {
    let first = tokens.iter().position(|token| !is_blank(&token.token))?;
    let last = tokens.iter().rposition(|token| !is_blank(&token.token))?;
    let (start, end) = (tokens[first].span.start, tokens[last].span.end);
    let at = (usize::try_from(start.line).ok()?, usize::try_from(start.column).ok()?);
    let to = (usize::try_from(end.line).ok()?, usize::try_from(end.column).ok()?);
    let own = text.get(offset(text, at)..offset(text, to)).unwrap_or_default().to_owned();
    let tokens = tokens.get(first..=last)?.to_vec();
    Some(StatementText { text: own, at, tokens })
}

/// The byte at a line and column (characters), both from 1.
fn offset(text: &str, (line, column): (usize, usize)) -> usize {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.chars().take(column - 1).map(char::len_utf8).sum::<usize>()
}

/// Parses one statement.
///
/// # Errors
/// What is wrong, where, and what was expected; statements that are not supported, with what to use
/// instead.
pub(super) fn parse(statement: &StatementText) -> Result<Statement, SqlError> {
    bounded(&statement.tokens)?;
    let (tokens, travel) = TimeTravel::take(&statement.tokens)?;
    let parser = Parser::new(spark_dialect()).with_tokens_with_locations(tokens);
    Words { parser, travel }.statement()
}

/// The first words of statements, for the nearest to one that is none.
const BEGINNINGS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "EXPLAIN", "DESCRIBE", "SHOW", "CREATE", "DROP", "OPTIMIZE",
    "VACUUM", "RESTORE",
];

struct Words<'a> {
    parser: Parser<'a>,
    travel: TimeTravel,
}

type Parsed<T> = Result<T, SqlError>;

fn failed(error: ParserError) -> SqlError {
    syntax_error(&error)
}

impl Words<'_> {
    fn statement(mut self) -> Parsed<Statement> {
        let first = self.parser.peek_token();
        let statement = match self.peek_word().as_deref() {
            Some("SELECT" | "WITH" | "VALUES" | "FROM") => Statement::Query(self.query()?),
            None if first.token == Token::LParen => Statement::Query(self.query()?),
            Some("EXPLAIN") => self.explain()?,
            Some("DESCRIBE" | "DESC") => self.describe()?,
            Some("SHOW") => self.show()?,
            Some("CREATE") => self.create()?,
            Some("DROP") => self.drop()?,
            Some("OPTIMIZE") => self.optimize()?,
            Some("VACUUM") => self.vacuum()?,
            Some("RESTORE") => self.restore()?,
            Some(word) => return Err(refused(word, first.span)),
            None => {
                return Err(SqlError::new(format!(
                    "a statement cannot begin with {}",
                    first.token
                ))
                .hint("write SELECT ..., or SHOW TABLES to see what there is")
                .at(first.span));
            }
        };
        let rest = self.parser.peek_token();
        if rest.token != Token::EOF {
            return Err(self.unexpected("the end of the statement", &rest));
        }
        Ok(statement)
    }

    /// The next word, in capitals.
    fn peek_word(&self) -> Option<String> {
        match &self.parser.peek_token_ref().token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
            _ => None,
        }
    }

    /// Takes the words if they are next, all of them.
    fn take(&mut self, words: &[&str]) -> bool {
        for (n, expected) in words.iter().enumerate() {
            let token = self.parser.peek_nth_token(n);
            let is_it = matches!(&token.token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected));
            if !is_it {
                return false;
            }
        }
        for _ in words {
            self.parser.next_token();
        }
        true
    }

    fn expect(&mut self, words: &[&str]) -> Parsed<()> {
        if self.take(words) {
            return Ok(());
        }
        let found = self.parser.peek_token();
        Err(self.unexpected(&words.join(" "), &found))
    }

    fn unexpected(&self, expected: &str, found: &TokenWithSpan) -> SqlError {
        let shown = match &found.token {
            Token::EOF => "the end of the statement".to_owned(),
            token => format!("'{}'", self.travel.shown(&token.to_string())),
        };
        SqlError::new(format!("expected {expected}, found {shown}")).at(found.span)
    }

    fn query(&mut self) -> Parsed<TravelQuery> {
        if self.peek_word().as_deref() == Some("FROM") {
            let at = self.parser.peek_token().span;
            return Err(SqlError::new("a query begins with SELECT")
                .hint("write SELECT * FROM ...")
                .at(at));
        }
        let query = self.parser.parse_query().map_err(|error| {
            let error = failed(error);
            SqlError { message: self.travel.shown(&error.message), ..error }
        })?;
        Ok(TravelQuery { query, travel: self.travel.clone() })
    }

    fn explain(&mut self) -> Parsed<Statement> {
        self.expect(&["EXPLAIN"])?;
        let analyze = self.take(&["ANALYZE"]);
        for word in ["EXTENDED", "FORMATTED", "COST", "CODEGEN", "VERBOSE"] {
            self.take(&[word]);
        }
        Ok(Statement::Explain { query: self.query()?, analyze })
    }

    fn describe(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        if self.take(&["HISTORY"]) {
            let table = self.table()?;
            let limit = match self.take(&["LIMIT"]) {
                true => Some(self.count("the number of versions")?),
                false => None,
            };
            return Ok(Statement::History { table, limit });
        }
        if self.take(&["DETAIL"]) {
            return Ok(Statement::Detail { table: self.table()? });
        }
        for word in ["QUERY", "DATABASE", "SCHEMA", "FUNCTION"] {
            let at = self.parser.peek_token().span;
            if self.peek_word().as_deref() == Some(word) && !self.is_last_word() {
                return Err(SqlError::new(format!("DESCRIBE {word} is not supported"))
                    .hint("write DESCRIBE, DESCRIBE HISTORY or DESCRIBE DETAIL and a table")
                    .at(at));
            }
        }
        // A table may be called `table` or `extended`.
        if !self.is_last_word() {
            let _ = self.take(&["TABLE"]);
        }
        if !self.is_last_word() {
            let _ = self.take(&["EXTENDED"]) || self.take(&["FORMATTED"]);
        }
        Ok(Statement::Describe { table: self.table()? })
    }

    /// Whether nothing follows the next token.
    fn is_last_word(&self) -> bool {
        self.parser.peek_nth_token(1).token == Token::EOF
    }

    fn show(&mut self) -> Parsed<Statement> {
        self.expect(&["SHOW"])?;
        if self.take(&["TABLES"]) || self.take(&["VIEWS"]) {
            let schema = match self.take(&["IN"]) || self.take(&["FROM"]) {
                true => Some(self.table()?.parts.join(".")),
                false => None,
            };
            return Ok(Statement::ShowTables { schema, like: self.like()? });
        }
        if self.take(&["SCHEMAS"]) || self.take(&["DATABASES"]) {
            return Ok(Statement::ShowSchemas);
        }
        if self.take(&["COLUMNS"]) {
            if !(self.take(&["IN"]) || self.take(&["FROM"])) {
                let found = self.parser.peek_token();
                return Err(self.unexpected("IN and a table", &found));
            }
            return Ok(Statement::ShowColumns { table: self.table()? });
        }
        if self.take(&["FUNCTIONS"]) {
            return Ok(Statement::ShowFunctions { like: self.like()? });
        }
        let found = self.parser.peek_token();
        Err(self.unexpected("TABLES, SCHEMAS, COLUMNS IN t or FUNCTIONS", &found))
    }

    /// `[LIKE] 'pattern'`
    fn like(&mut self) -> Parsed<Option<String>> {
        let like = self.take(&["LIKE"]);
        let token = self.parser.peek_token();
        match token.token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
                self.parser.next_token();
                Ok(Some(text))
            }
            _ if like => Err(self.unexpected("a pattern in quotes, such as 'web*'", &token)),
            _ => Ok(None),
        }
    }

    fn create(&mut self) -> Parsed<Statement> {
        let at = self.parser.next_token().span;
        let replace = self.take(&["OR", "REPLACE"]);
        let _ = self.take(&["GLOBAL"]) || self.take(&["LOCAL"]);
        if !(self.take(&["TEMP"]) || self.take(&["TEMPORARY"])) {
            return Err(SqlError::new("only temporary views can be made here")
                .hint(
                    "write CREATE OR REPLACE TEMP VIEW v AS SELECT ...; tables are made by the \
                     sinks of a configuration",
                )
                .at(at));
        }
        self.expect(&["VIEW"])?;
        let name = self.view()?;
        self.expect(&["AS"])?;
        Ok(Statement::CreateView { name, replace, query: self.query()? })
    }

    fn drop(&mut self) -> Parsed<Statement> {
        let at = self.parser.next_token().span;
        if !self.take(&["VIEW"]) {
            return Err(refused("DROP", at));
        }
        let if_exists = self.take(&["IF", "EXISTS"]);
        Ok(Statement::DropView { name: self.view()?, if_exists })
    }

    fn view(&mut self) -> Parsed<TableRef> {
        let name = self.table()?;
        if name.parts.len() != 1 {
            return Err(SqlError::new("a temporary view is in no schema")
                .hint("give it a name without a dot")
                .at(name.span));
        }
        Ok(name)
    }

    fn optimize(&mut self) -> Parsed<Statement> {
        self.expect(&["OPTIMIZE"])?;
        let table = self.table()?;
        let filter = match self.take(&["WHERE"]) {
            true => Some(self.parser.parse_expr().map_err(failed)?.to_string()),
            false => None,
        };
        let mut zorder = vec![];
        if self.take(&["ZORDER", "BY"]) {
            let parens = self.parser.consume_token(&Token::LParen);
            let columns = self.parser.parse_comma_separated(Parser::parse_identifier);
            zorder = columns.map_err(failed)?.into_iter().map(|column| column.value).collect();
            if parens {
                self.parser.expect_token(&Token::RParen).map_err(failed)?;
            }
        }
        let rest = self.parser.peek_token();
        if rest.token != Token::EOF {
            let expected = if zorder.is_empty() {
                "WHERE and a condition on partition columns, ZORDER BY (columns), or the end"
            } else {
                "the end of the statement"
            };
            return Err(self.unexpected(expected, &rest));
        }
        Ok(Statement::Optimize { table, filter, zorder })
    }

    fn vacuum(&mut self) -> Parsed<Statement> {
        self.expect(&["VACUUM"])?;
        let table = self.table()?;
        // As Delta has it, in any order.
        let (mut retain_hours, mut dry_run) = (None, false);
        loop {
            if retain_hours.is_none() && self.take(&["RETAIN"]) {
                retain_hours = Some(self.hours()?);
            } else if !dry_run && self.take(&["DRY", "RUN"]) {
                dry_run = true;
            } else {
                let _ = self.take(&["FULL"]);
                break;
            }
        }
        let rest = self.parser.peek_token();
        if rest.token != Token::EOF {
            return Err(self.unexpected("RETAIN n HOURS, DRY RUN or the end", &rest));
        }
        Ok(Statement::Vacuum { table, retain_hours, dry_run })
    }

    fn hours(&mut self) -> Parsed<f64> {
        let token = self.parser.next_token();
        let hours = match &token.token {
            Token::Number(text, _) => text.parse::<f64>().ok(),
            _ => None,
        };
        let Some(hours) = hours.filter(|hours| hours.is_finite() && *hours >= 0.0) else {
            return Err(self.unexpected("a number of hours", &token));
        };
        if !(self.take(&["HOURS"]) || self.take(&["HOUR"])) {
            let found = self.parser.peek_token();
            return Err(self.unexpected("HOURS", &found));
        }
        Ok(hours)
    }

    fn restore(&mut self) -> Parsed<Statement> {
        self.expect(&["RESTORE"])?;
        if !self.is_last_word() {
            let _ = self.take(&["TABLE"]);
        }
        let table = self.table()?;
        let _ = self.take(&["TO"]);
        // `t VERSION AS OF 3` is one name already; after TO it is not.
        if let (Some(as_of), rest) = self.travel.of(&table.parts) {
            return Ok(Statement::Restore { table: TableRef { parts: rest, ..table }, to: as_of });
        }
        let at = self.parser.peek_token();
        if self.take(&["VERSION", "AS", "OF"]) {
            let token = self.parser.next_token();
            let version = match &token.token {
                Token::Number(text, _) | Token::SingleQuotedString(text) => text.parse().ok(),
                _ => None,
            };
            let Some(version) = version else {
                return Err(self.unexpected("the number of a version", &token));
            };
            return Ok(Statement::Restore { table, to: AsOf::Version(version) });
        }
        if self.take(&["TIMESTAMP", "AS", "OF"]) {
            let expr: Expr = self.parser.parse_expr().map_err(failed)?;
            return Ok(Statement::Restore { table, to: AsOf::Timestamp(Box::new(expr)) });
        }
        Err(self.unexpected("TO VERSION AS OF n or TO TIMESTAMP AS OF '...'", &at))
    }

    fn table(&mut self) -> Parsed<TableRef> {
        let token = self.parser.peek_token();
        match &token.token {
            Token::Word(_) => {
                let name = self.parser.parse_object_name(false).map_err(failed)?;
                Ok(TableRef::new(&name))
            }
            // A path in quotes, as Delta's VACUUM takes it.
            Token::SingleQuotedString(path) | Token::DoubleQuotedString(path) => {
                let parts = vec!["delta".to_owned(), path.clone()];
                self.parser.next_token();
                Ok(TableRef { parts, span: token.span })
            }
            _ => Err(self.unexpected("the name of a table", &token)),
        }
    }

    fn count(&mut self, what: &str) -> Parsed<usize> {
        let token = self.parser.next_token();
        match &token.token {
            Token::Number(text, _) if text.parse::<usize>().is_ok() => {
                Ok(text.parse().unwrap_or_default())
            }
            _ => Err(self.unexpected(what, &token)),
        }
    }
}

/// What is SQL and not done here.
fn refused(word: &str, at: Span) -> SqlError {
    const STREAMS: &str = "tables are written by the queries of a configuration, exactly once; a \
                           second writer by hand would not be part of that. Write the change as a \
                           query with a Delta sink, and run it once: millpond run --once";
    let instead = match word {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "TRUNCATE" => STREAMS,
        "DROP" => {
            "only temporary views are dropped here; a table is dropped by deleting its directory \
             when nothing writes it any more"
        }
        "ALTER" => {
            "columns are added by a sink with evolve = \"add\", and properties are set in \
             [queries.NAME.sink.properties]"
        }
        "SET" | "RESET" => "there are no settings to change; see millpond sql --help for options",
        "USE" => "name tables with their schema, as in bronze.logs",
        "CONVERT" => "only tables that are Delta tables already can be read",
        _ => {
            let error = SqlError::new(format!("unknown statement '{word}'")).at(at);
            let near = nearest(word, BEGINNINGS.iter().copied());
            return match near {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("statements begin with {}", BEGINNINGS.join(", "))),
            };
        }
    };
    SqlError::new(format!("{word} is not done here")).hint(instead).at(at)
}
