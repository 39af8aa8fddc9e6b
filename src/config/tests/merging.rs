//! Several files, directories of them, and overrides.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{Environment, load, load_with_overrides};
use super::{BASE, assert_report, assert_text, kafka, merged, no_variables};

#[test]
fn tables_merge_deep_and_later_wins() {
    let settings = merged(
        &[
            ("base.toml", BASE),
            ("more.toml", "[checkpoint]\ninterval = \"1s\"\ntimeout = \"1m\""),
            (
                "most.toml",
                "shards = 5\n[checkpoint]\ninterval = \"2s\"\n[sources.logs]\ntopics = [\"x\"]",
            ),
        ],
        &[("checkpoint.interval", "3s"), ("sources.logs.brokers", "b:1")],
        &no_variables(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.shards, 5);
    assert_eq!(settings.checkpoint.interval, Duration::from_secs(3));
    assert_eq!(settings.checkpoint.timeout, Duration::from_secs(60));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(kafka.topics, ["x"]);
    assert_eq!(kafka.brokers, "b:1");
    assert_eq!(
        settings.sources[0].schema_text.as_deref(),
        Some("timestamp TIMESTAMP NOT NULL, ip STRING")
    );
}

#[test]
fn values_of_overrides_are_toml_or_else_strings() {
    let settings = merged(
        &[("base.toml", BASE)],
        &[
            ("shards", "7"),
            ("server.enabled", "false"),
            ("checkpoint", "{ interval = \"1s\" }"),
            ("sources.logs.topics", "[\"a\", \"b\"]"),
            ("sources.logs.options.\"security.protocol\"", "ssl"),
            ("sources.logs.options.client.id", "a=b"),
        ],
        &no_variables(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.shards, 7);
    assert!(!settings.server.enabled);
    assert_eq!(settings.checkpoint.interval, Duration::from_secs(1));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(kafka.topics, ["a", "b"]);
    assert_eq!(kafka.options["security.protocol"].expose(), "ssl");
    assert_eq!(kafka.options["client.id"].expose(), "a=b");
}

#[test]
fn errors_name_the_override() {
    assert_report(
        merged(
            &[("base.toml", BASE)],
            &[
                ("shards", "many"),
                ("checkpoint.intervall", "5s"),
                ("sources.logs.topics", "[]"),
                ("server", "7"),
            ],
            &no_variables(),
        ),
        r##"
error: invalid value "many"
  --> --set shards:1:8
   |
 1 | shards=many
   |        ^^^^
   = key: shards
   = expected: a whole number from 1 to 64

error: unknown key `intervall`
  --> --set checkpoint.intervall:1:1
   |
 1 | checkpoint.intervall=5s
   | ^^^^^^^^^^^^^^^^^^^^
   = key: checkpoint.intervall
   = expected: `interval`, `directory`, `timeout` or `drain_timeout`
   = help: did you mean `interval`?

error: this array is empty
  --> --set sources.logs.topics:1:21
   |
 1 | sources.logs.topics=[]
   |                     ^^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`

error: invalid value 7
  --> --set server:1:8
   |
 1 | server=7
   |        ^
   = key: server
   = expected: a table: [server]

4 errors in the configuration
"##,
    );
}

#[test]
fn overrides_that_are_not_keys_or_values() {
    assert_report(
        merged(
            &[("base.toml", BASE)],
            &[
                ("", "4"),
                ("a b", "4"),
                ("a.\nb", "4"),
                ("shards", "[4"),
                ("shards", "4\nname = \"x\""),
            ],
            &no_variables(),
        ),
        r##"
error: this override names no key: it is empty
  --> --set :1:1
   |
 1 | =***
   | ^
   = expected: KEY.PATH=VALUE, such as `checkpoint.interval="5s"`

error: this override names no key: key with no value, expected `=`
  --> --set a b:1:1
   |
 1 | a b=***
   | ^^^
   = expected: KEY.PATH=VALUE, such as `checkpoint.interval="5s"`

error: this override names no key: it is not a dotted key
  --> --set a.b:1:1
   |
 1 | a.
   | ^^
   = expected: KEY.PATH=VALUE, such as `checkpoint.interval="5s"`

error: this is not TOML: unclosed array, expected `]`
  --> --set shards:1:10
   |
 1 | shards=[4
   |          ^

4 errors in the configuration
"##,
    );
}

#[test]
fn directories_are_read_in_the_order_of_names() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(path(name), text).expect("the directory is writable");
    };
    write("10-base.toml", BASE);
    write("20-site.toml", "shards = 3");
    write("30-host.toml", "shards = 4");
    write(".hidden.toml", "not toml");
    write("notes.md", "not toml");
    std::fs::create_dir(path("inner.toml")).expect("the directory is writable");
    let paths = [directory.path().to_path_buf()];
    let settings = load(&paths, &Environment::Real).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.shards, 4);
    assert_eq!(
        settings.files,
        vec![path("10-base.toml"), path("20-site.toml"), path("30-host.toml")]
    );
    // What is named later wins, whatever its name.
    let paths = [directory.path().to_path_buf(), path("20-site.toml")];
    let settings = load(&paths, &Environment::Real).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.shards, 3);
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("weblogs.toml"), BASE).expect("the directory is writable");
    std::fs::write(path("latin1.toml"), b"shards = 2\nname = \"caff\xe8\"\n")
        .expect("the directory is writable");
    std::fs::create_dir(path("empty")).expect("the directory is writable");
    let report = |paths: &[PathBuf]| {
        let errors = load(paths, &Environment::Real).expect_err("it cannot be read");
        errors.to_string().replace(&format!("{}/", directory.path().display()), "")
    };
    assert_text(
        &[
            report(&[path("weblog.toml"), path("empty")]),
            report(&[path("latin1.toml")]),
            report(&[]),
        ]
        .join("\n\n"),
        r##"
error: cannot read weblog.toml: No such file or directory (os error 2)
   = expected: a TOML file that this process can read
   = help: did you mean `weblogs.toml`?

error: empty holds no configuration
   = expected: one or more files whose names end in `.toml`

2 errors in the configuration

error: this is not UTF-8, as TOML must be
  --> latin1.toml:2:13
   |
 2 | name = "caff�"
   |             ^
   = expected: UTF-8

1 error in the configuration

error: no configuration is given
   = expected: one or more paths of TOML files, or of directories of them

1 error in the configuration
"##,
    );
}

#[test]
fn errors_come_in_the_order_of_the_files() {
    let errors = merged(
        &[("base.toml", BASE), ("b.toml", "x = 1\nshards = 0"), ("a.toml", "y = 1")],
        &[("z", "1")],
        &no_variables(),
    )
    .expect_err("unknown keys");
    let places: Vec<String> = errors
        .iter()
        .map(|error| error.location.as_ref().map_or(String::new(), ToString::to_string))
        .collect();
    assert_eq!(places, ["b.toml:1:1", "b.toml:2:10", "a.toml:1:1", "--set z:1:1"]);
}

#[test]
fn overrides_apply_to_files_on_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("weblogs.toml");
    std::fs::write(&path, BASE).expect("the directory is writable");
    let overrides = [("shards".to_owned(), "9".to_owned())];
    let settings = load_with_overrides(&[path], &overrides, &Environment::Real)
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.shards, 9);
}
