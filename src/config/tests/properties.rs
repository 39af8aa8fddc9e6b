//! Whatever a file holds, it is answered: with settings or with errors, never with a panic.

use proptest::prelude::*;

use super::super::{Environment, parse_str, parse_str_with_overrides};
use super::{BASE, no_variables, over_base};

/// Texts that are nearly configurations: keys that exist, with values that may not fit.
fn nearly_toml() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("name"),
        Just("shards"),
        Just("checkpoint.interval"),
        Just("[sources.logs]"),
        Just("[queries.bronze.sink]"),
        Just("[[queries.bronze.sinks]]"),
        Just("[detectors.a]"),
        Just("sql"),
        Just("schema"),
        Just("topics"),
        Just("path"),
        Just("options"),
        Just("kind"),
        Just("\"sasl.password\""),
        Just("server.listen"),
        Just("[logging]"),
        Just("level"),
        Just("compression"),
        Just("watermark"),
        Just("columns"),
        Just("timezone"),
        Just("é"),
        Just("trigger"),
        Just("type"),
        Just("[sources.logs.format]"),
        Just("[sources.logs.metadata]"),
        Just("[sources.logs.start]"),
        Just("offsets"),
        Just("registry"),
        Just("[[queries.bronze.sinks]]"),
        Just("drop_duplicates"),
        Just("topic_pattern"),
        Just("start"),
        Just("after"),
        Just("value"),
        Just("url"),
        Just("truncate"),
        Just("[tables.t]"),
        Just("[[tests]]"),
        Just("[[tests.batches]]"),
        Just("[[tests.batches.input]]"),
        Just("[[tests.expect]]"),
        Just("rows"),
        Just("lines"),
        Just("delimiter"),
    ];
    let value = prop_oneof![
        Just("\"${data_dir}/${X:-y}\"".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("[{}, 1, \"x\"]".to_owned()),
        Just("'''\né\n'''".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("1e400".to_owned()),
        Just("nan".to_owned()),
        Just("true".to_owned()),
        Just("\"zstd()\"".to_owned()),
        Just("\"${\"".to_owned()),
        Just("\"kafka\"".to_owned()),
        Just("\"files\"".to_owned()),
        Just("\"socket\"".to_owned()),
        Just("\"delta\"".to_owned()),
        Just("\"csv\"".to_owned()),
        Just("\"avro\"".to_owned()),
        Just("\"protobuf\"".to_owned()),
        Just("\"debezium\"".to_owned()),
        Just("\"postgres\"".to_owned()),
        Just("\"console\"".to_owned()),
        Just("\"update\"".to_owned()),
        Just("\"complete\"".to_owned()),
        Just("\"logs\"".to_owned()),
        Just("\"bronze\"".to_owned()),
        Just("{ archive = \"a\" }".to_owned()),
        Just("{ timestamp = 1979-05-27 }".to_owned()),
        Just("{ url = \"http://a@b\", token = \"x\" }".to_owned()),
        Just("[{ a = 1, b = nan }]".to_owned()),
        Just("\"\\u0000\"".to_owned()),
        "\"\\PC{0,20}\"",
        "[0-9]{1,25}",
    ];
    let line = (key, value).prop_map(|(key, value)| {
        if key.starts_with('[') { key.to_owned() } else { format!("{key} = {value}") }
    });
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        if let Err(errors) = parse_str("any.toml", &text, &no_variables()) {
            prop_assert!(!errors.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_after_a_configuration(text in "\\PC{0,40}", tail in any::<String>()) {
        let text = format!("{BASE}\n{text}\n{tail}");
        let _ = parse_str("any.toml", &text, &Environment::None).map_err(|e| e.to_string());
    }

    #[test]
    fn nearly_configurations(text in nearly_toml()) {
        let _ = over_base(&text, &no_variables()).map_err(|errors| errors.to_string());
        let _ = over_base(&text, &Environment::None).map_err(|errors| errors.to_string());
    }

    #[test]
    fn one_source_and_one_sink_of_any_type(
        source in prop_oneof!["kafka", "files", "socket", "rate", "delta"],
        format in prop_oneof![
            "json", "csv", "text", "raw", "avro", "protobuf", "json_schema", "debezium", "parquet"
        ],
        sink in prop_oneof!["delta", "kafka", "postgres", "files", "console", "memory"],
        text in nearly_toml(),
    ) {
        let case = format!(
            "name = \"x\"\n{text}\n[sources.s]\ntype = \"{source}\"\nschema = \"a INT\"\n\
             [sources.s.format]\ntype = \"{format}\"\n[queries.q]\nsql = \"SELECT 1\"\n\
             [queries.q.sink]\ntype = \"{sink}\"\n"
        );
        let answer = parse_str("any.toml", &case, &no_variables());
        if let Ok(settings) = &answer {
            prop_assert!(serde_json::to_value(settings).is_ok());
        }
        let _ = answer.map_err(|errors| errors.to_string());
    }

    #[test]
    fn any_override(key in any::<String>(), value in any::<String>()) {
        let _ = parse_str_with_overrides("base.toml", BASE, &[(key, value)], &no_variables())
            .map_err(|errors| errors.to_string());
    }

    #[test]
    fn any_override_of_a_string(value in any::<String>()) {
        let overrides = [("queries.bronze.sql".to_owned(), value)];
        if let Ok(settings) =
            parse_str_with_overrides("base.toml", BASE, &overrides, &no_variables())
        {
            let query = &settings.queries[0];
            for line in 0..4 {
                let _ = settings.error_at_sql(query, line, 3, "here", None).to_string();
            }
        }
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for text in [
        format!("x = {}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("x = {}1{}", "{a = ".repeat(10_000), "}".repeat(10_000)),
        format!("{}x = 1", "a.".repeat(10_000)),
        format!("[{}x]\n{}y = 1", "a.".repeat(60), "b.".repeat(60)),
    ] {
        assert!(parse_str("deep.toml", &text, &no_variables()).is_err());
    }
}

#[test]
fn large_files_are_refused() {
    let text = "# comment\n".repeat(500_000);
    let errors = parse_str("large.toml", &text, &no_variables()).expect_err("too large");
    assert_eq!(
        errors.to_string(),
        "error: large.toml is not a configuration: too large\n   = expected: at most 4 MiB\n\n\
         1 error in the configuration"
    );
}
