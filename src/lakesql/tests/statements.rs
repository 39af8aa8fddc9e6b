//! Texts and what they are understood as.

use super::super::statement::{self, Statement};
use super::super::travel::AsOf;
use super::super::{is_complete, split};

fn parsed(text: &str) -> Result<Statement, String> {
    let statements = split(text).map_err(|error| error.to_string())?;
    assert_eq!(statements.len(), 1, "{text}");
    statement::parse(&statements[0]).map_err(|error| error.to_string())
}

#[track_caller]
fn error(text: &str) -> String {
    match parsed(text) {
        Ok(statement) => panic!("{text} is {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn texts_are_split_at_semicolons_that_are_not_quoted() {
    let texts = |text| -> Vec<(String, (usize, usize))> {
        split(text).unwrap().into_iter().map(|s| (s.text, s.at)).collect()
    };
    assert_eq!(
        texts("SELECT ';' ; -- one; two\n  SELECT 2 /* ; */ ;;"),
        [("SELECT ';'".into(), (1, 1)), ("SELECT 2".into(), (2, 3))]
    );
    assert_eq!(texts(" ; -- nothing\n"), []);
    assert_eq!(texts("SELECT 'ä'; SELECT `b;`")[1], ("SELECT `b;`".into(), (1, 13)));
    assert!(split("SELECT 'x").is_err());
}

#[test]
fn a_statement_is_complete_at_its_semicolon() {
    for text in ["SELECT 1;", "SELECT 1; -- done", "", "  ", "SELECT ';';"] {
        assert!(is_complete(text), "{text}");
    }
    for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "SELECT /* ; "] {
        assert!(!is_complete(text), "{text}");
    }
}

#[test]
fn deltas_statements() {
    match parsed("OPTIMIZE web.logs WHERE date >= '2026-11-21' ZORDER BY (endpoint, status_code)") {
        Ok(Statement::Optimize { table, filter, zorder }) => {
            assert_eq!(table.parts, ["web", "logs"]);
            assert_eq!(filter.as_deref(), Some("date >= '2026-11-21'"));
            assert_eq!(zorder, ["endpoint", "status_code"]);
        }
        other => panic!("{other:?}"),
    }
    match parsed("vacuum delta.`/data/x` dry run retain 0.5 hours") {
        Ok(Statement::Vacuum { table, retain_hours, dry_run }) => {
            assert_eq!(table.parts, ["delta", "/data/x"]);
            assert_eq!((retain_hours, dry_run), (Some(0.5), true));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        parsed("VACUUM '/data/x' RETAIN 168 HOURS"),
        Ok(Statement::Vacuum { table, .. }) if table.parts == ["delta", "/data/x"]
    ));
    assert!(matches!(
        parsed("DESCRIBE HISTORY logs LIMIT 5"),
        Ok(Statement::History { limit: Some(5), .. })
    ));
    assert!(matches!(parsed("desc detail logs"), Ok(Statement::Detail { .. })));
    for text in ["RESTORE TABLE t TO VERSION AS OF 3", "restore t version as of 3", "RESTORE t@v3"]
    {
        match parsed(text) {
            Ok(Statement::Restore { table, to: AsOf::Version(3) }) => {
                assert_eq!(table.parts, ["t"], "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(
        parsed("RESTORE t TO TIMESTAMP AS OF '2026-11-21'"),
        Ok(Statement::Restore { to: AsOf::Timestamp(_), .. })
    ));
}

#[test]
fn tables_may_have_the_names_of_keywords() {
    for (text, name) in [("DESCRIBE table", "table"), ("DESCRIBE history", "history")] {
        match parsed(text) {
            Ok(Statement::Describe { table }) => assert_eq!(table.parts, [name]),
            // HISTORY needs a table behind it.
            other => assert!(text.ends_with("history") && other.is_err(), "{text}: {other:?}"),
        }
    }
    assert!(matches!(parsed("RESTORE table TO VERSION AS OF 1"), Ok(Statement::Restore { .. })));
}

#[test]
fn errors_say_what_was_expected_and_where() {
    assert_eq!(
        error("SELEKT 1"),
        "line 1, column 1: unknown statement 'SELEKT'; did you mean 'SELECT'?"
    );
    assert_eq!(
        error("OPTIMIZE logs\nZORDR BY (a)"),
        "line 2, column 1: expected WHERE and a condition on partition columns, ZORDER BY \
         (columns), or the end, found 'ZORDR'"
    );
    assert_eq!(
        error("VACUUM logs RETAIN 7 DAYS"),
        "line 1, column 22: expected HOURS, found 'DAYS'"
    );
    assert_eq!(
        error("VACUUM logs RETAIN -1 HOURS"),
        "line 1, column 20: expected a number of hours, found '-'"
    );
    assert_eq!(error("DESCRIBE"), "expected the name of a table, found the end of the statement");
    assert_eq!(
        error("SHOW COLUMNS logs"),
        "line 1, column 14: expected IN and a table, found 'logs'"
    );
    assert_eq!(
        error("RESTORE logs TO 3"),
        "line 1, column 17: expected TO VERSION AS OF n or TO TIMESTAMP AS OF '...', found '3'"
    );
    assert!(error("SELECT * FROM logs VERSION AS OF 'x'").contains("'x'' is not a version"));
    assert!(error("SELECT * FROM logs@x").contains("'@x' is not a version; write t@v3"));
    assert!(error("CREATE TABLE x AS SELECT 1").contains("only temporary views"));
    assert!(error("CREATE TEMP VIEW a.b AS SELECT 1").contains("in no schema"));
    assert!(error("FROM logs SELECT 1").contains("begins with SELECT"));
    assert!(error(")").contains("cannot begin with )"));
    assert!(error("SHOW TABELS").contains("expected TABLES, SCHEMAS"));
    assert!(error("SELECT 1 SELECT 2").contains("expected the end of the statement, found"));
}

#[test]
fn what_changes_rows_by_hand_is_refused_with_what_to_use() {
    for word in ["INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "MERGE INTO t"]
    {
        let error = error(word);
        assert!(error.contains("is not done here") && error.contains("millpond run"), "{error}");
    }
    for word in ["DROP TABLE t", "ALTER TABLE t ADD COLUMN x INT", "SET a = 1", "USE x"] {
        assert!(error(word).contains("is not done here"), "{word}");
    }
}

#[test]
fn a_mark_never_shows() {
    for text in ["SELECT * FROM logs VERSION AS OF 3 WHERE )", "SELECT * FROM a@v1 b c d"] {
        let error = error(text);
        assert!(!error.contains('\u{1}'), "{error:?}");
    }
}
