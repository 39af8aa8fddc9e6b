use super::*;

fn entry(name: &str, path: &str) -> TableEntry {
    TableEntry {
        name: name.parse().unwrap(),
        location: TableLocation::new(path),
        kind: TableKind::Sink,
        written_by: None,
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for (name, path) in [
        ("bronze.logs", "data/bronze"),
        ("silver.logs", "data/silver"),
        ("gold.endpoint_minutes", "data/gold"),
        ("copy.endpoint_minutes", "data/gold"),
    ] {
        catalog.add(entry(name, path)).unwrap();
    }
    catalog
}

#[track_caller]
fn finds(name: &str, path: &str) {
    match catalog().resolve(name) {
        Ok(entry) => assert_eq!(entry.location.uri(), path, "{name}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

#[track_caller]
fn error(name: &str) -> String {
    match catalog().resolve(name) {
        Ok(entry) => panic!("{name} is {}", entry.location),
        Err(error) => error.to_string(),
    }
}

#[test]
fn full_names_short_names_and_paths() {
    finds("bronze.logs", "data/bronze");
    finds(" Bronze.LOGS ", "data/bronze");
    finds("`silver`.`logs`", "data/silver");
    finds("spark_catalog.silver.logs", "data/silver");
    // Two names of one table.
    finds("endpoint_minutes", "data/gold");
    finds("delta.`/data/some.table`", "/data/some.table");
    finds("DELTA.`a``b`", "a`b");
    finds("/data/x.y", "/data/x.y");
    finds("./x", "./x");
    finds("s3://bucket/table", "s3://bucket/table");
    assert_eq!(catalog().resolve("./x").unwrap().shown(), "./x");
}

#[test]
fn a_directory_with_a_table_is_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain");
    std::fs::create_dir_all(path.join("_delta_log")).unwrap();
    finds(path.to_str().unwrap(), path.to_str().unwrap());
}

#[test]
fn errors_name_what_is_near() {
    assert_eq!(error("logs"), "'logs' is ambiguous: write bronze.logs or silver.logs");
    assert_eq!(error("bronze.log"), "there is no table 'bronze.log'; did you mean 'bronze.logs'?");
    assert_eq!(
        error("endpoint_minute"),
        "there is no table 'endpoint_minute'; did you mean 'gold.endpoint_minutes'?"
    );
    assert_eq!(
        error("zzz"),
        "there is no table 'zzz'; the tables are bronze.logs, silver.logs, \
         gold.endpoint_minutes, copy.endpoint_minutes"
    );
    assert!(error("a.b.c").contains("cannot be the name of a table"));
    let none = Catalog::new().resolve("logs").unwrap_err().to_string();
    assert!(none.contains("--config"), "{none}");
}

#[test]
fn a_name_is_one_table() {
    let mut catalog = catalog();
    let error = catalog.add(entry("BRONZE.Logs", "elsewhere")).unwrap_err().to_string();
    assert_eq!(error, "'BRONZE.Logs' is the name of two tables, at data/bronze and elsewhere");
}
