//! SQL over the lakehouse: Spark SQL's SELECT over Delta tables as they are or were, and Delta
//! Lake's own statements around it.
//!
//! | file | |
//! |---|---|
//! | `statement`, `travel` | the text: statements, and the versions of tables that it asks for |
//! | `tables`, `views` | what names in FROM mean: Delta tables at a version, temporary views |
//! | `select` | a query planned (by [`crate::sql`], as the streaming queries are) and run |
//! | `commands`, `delta` | SHOW, DESCRIBE and EXPLAIN; HISTORY, DETAIL, OPTIMIZE, VACUUM, RESTORE |
//! | `engine`, `session` | threads, memory and limits; the session that executes statements |
//!
//! ```no_run
//! # async fn example() -> Result<(), millpond::lakesql::LakeSqlError> {
//! use millpond::catalog::Catalog;
//! use millpond::lakesql::{Limits, Session};
//!
//! let session = Session::new(Catalog::new())?;
//! let sql = "SELECT count(*) FROM delta.`/data/bronze` VERSION AS OF 3";
//! let answer = session.execute(sql, &Limits::default()).await?;
//! assert_eq!(answer.rows, 1);
//! # Ok(())
//! # }
//! ```

mod commands;
mod delta;
mod engine;
mod error;
mod overview;
mod select;
mod session;
mod statement;
mod tables;
mod travel;
mod views;

#[cfg(test)]
mod tests;

pub use engine::EngineOptions;
pub use error::LakeSqlError;
pub use overview::{Overview, overview};
pub use session::{Answer, Limits, Rows, Session};
pub use statement::{StatementText, is_complete, split};

/// The names of all functions that queries can call, sorted.
pub fn function_names() -> Vec<String> {
    crate::sql::function_names()
}

/// The words that statements are made of, for completion.
pub const KEYWORDS: &[&str] = &[
    "ALL",
    "ANALYZE",
    "AND",
    "ANTI",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COLUMNS",
    "CREATE",
    "CROSS",
    "CUBE",
    "DESC",
    "DESCRIBE",
    "DETAIL",
    "DISTINCT",
    "DROP",
    "DRY",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FOLLOWING",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GROUP",
    "GROUPING SETS",
    "HAVING",
    "HISTORY",
    "HOURS",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LATERAL VIEW",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS FIRST",
    "NULLS LAST",
    "OFFSET",
    "ON",
    "OPTIMIZE",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "QUALIFY",
    "RANGE",
    "RESTORE",
    "RETAIN",
    "RIGHT",
    "RLIKE",
    "ROLLUP",
    "ROWS",
    "RUN",
    "SCHEMAS",
    "SELECT",
    "SEMI",
    "SHOW",
    "TABLE",
    "TABLES",
    "TEMP VIEW",
    "THEN",
    "TIMESTAMP AS OF",
    "TO",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "USING",
    "VACUUM",
    "VALUES",
    "VERSION AS OF",
    "VIEW",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "ZORDER BY",
];
