//! Text to syntax tree.

use datafusion::sql::sqlparser::ast::{Query, Spanned, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::SparkDialect;
use super::error::SqlError;

/// Operators in one query. Expressions are trees, evaluated and dropped by recursion on threads
/// with ordinary stacks.
const MAX_OPERATORS: usize = 1_000;

/// The one SELECT that `sql` is.
pub(crate) fn parse(sql: &str) -> Result<Query, SqlError> {
    let dialect = SparkDialect;
    let tokens = tokenize(sql)?;
    bounded(&tokens)?;
    let statements = Parser::new(&dialect)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax_error(&error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => Ok(*query),
        (Some(_), Some(second)) => Err(SqlError::new("a query is one statement; here is a second")
            .hint("make it a query of its own")
            .at(second.span())),
        (Some(other), None) => Err(SqlError::new("a query is a SELECT")
            .hint("sources, sinks and tables are declared in the configuration")
            .at(other.span())),
        (None, _) => Err(SqlError::new("the query is empty").hint("write a SELECT")),
    }
}

/// The words of a text, with their places.
///
/// # Errors
/// A quote without its end, and the like.
pub(crate) fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    Tokenizer::new(&SparkDialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax_error(&ParserError::from(error)))
}

/// Refuses queries that are too large for the stacks of those who evaluate them.
pub(crate) fn bounded(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let operators = tokens.iter().filter(|token| is_operator(&token.token)).count();
    if operators > MAX_OPERATORS {
        return Err(SqlError::new(format!(
            "the query has {operators} operators, and {MAX_OPERATORS} is the limit"
        ))
        .hint("use IN for long lists of values, or split the query"));
    }
    Ok(())
}

/// Whether a token makes an expression one level deeper.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::DIV | Keyword::IS | Keyword::CASE
        ),
        Token::Comma | Token::LParen | Token::RParen | Token::Period | Token::SemiColon => false,
        Token::Whitespace(_) | Token::EOF | Token::Number(_, _) => false,
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => false,
        _ => true,
    }
}

/// The parser puts the position at the end of its message: ` at Line: 1, Column: 8`.
pub(crate) fn syntax_error(error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new("the query is nested too deeply");
        }
    };
    if let Some((message, position)) = text.rsplit_once(" at Line: ")
        && let Some((line, column)) = position.split_once(", Column: ")
        && let (Ok(line), Ok(column)) = (line.trim().parse(), column.trim().parse())
    {
        let location = (line > 0).then_some((line, column));
        return SqlError::new(format!("syntax error: {message}")).at_location(location);
    }
    SqlError::new(format!("syntax error: {text}"))
}
