//! Against a real server, one for each test.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, Int64Builder, ListBuilder, MapBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};

use self::server::Postgres;
use super::*;
use crate::sink::staged::testing::{Area, STAGED_POINTS, batch_of, killed_at};
use crate::sink::{StagedSink, TargetSpec};

#[path = "../../../tests/it/support/postgres.rs"]
mod server;

fn spec(server: &Postgres, write: PostgresWrite) -> TargetSpec {
    TargetSpec::Postgres(PostgresOptions::new(server.url(), "readings", write))
}

async fn epoch(sink: &mut StagedSink, number: u64, batch: &RecordBatch) -> CommitInfo {
    sink.write(batch).await.unwrap();
    sink.prepare(number).await.unwrap();
    sink.commit(number).await.unwrap().unwrap()
}

/// A sink of rows like this batch, and its first epoch's outcome.
async fn write(
    area: &Area,
    spec: TargetSpec,
    keys: &[&str],
    batch: &RecordBatch,
) -> Result<Option<CommitInfo>, SinkError> {
    let mut context = area.context.clone();
    context.schema = batch.schema();
    context.keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await?;
    sink.write(batch).await?;
    sink.prepare(1).await?;
    sink.commit(1).await
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

#[tokio::test]
async fn every_type_arrives() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let noon = 1_698_408_000_000_000;
    let times = || TimestampMicrosecondArray::from(vec![Some(noon + 120_000), Some(-1), None]);
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(1), None, Some(-3)]);
    lists.append_value([]);
    lists.append_null();
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for value in ["1", "ü\"\\"] {
        maps.keys().append_value("a");
        maps.values().append_value(value);
        maps.append(true).unwrap();
    }
    maps.append(false).unwrap();
    let inner = Arc::new(Int32Array::from(vec![Some(7), None, None])) as ArrayRef;
    let field = Arc::new(Field::new("x", DataType::Int32, true));
    let mut texts = ListBuilder::new(StringBuilder::new());
    texts.append_value([Some("a,b"), None]);
    texts.append_null();
    texts.append_value([Some("")]);
    let bytes: Vec<Option<&[u8]>> = vec![Some(b"\x00\xff"), Some(b""), None];
    let rows = batch(vec![
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("tiny", Arc::new(Int8Array::from(vec![Some(-128), Some(127), None]))),
        ("int", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None]))),
        ("big", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None]))),
        ("real", Arc::new(Float32Array::from(vec![Some(0.1), Some(f32::NAN), None]))),
        ("dbl", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NEG_INFINITY), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("tab\there ü"), Some(""), None]))),
        ("bytes", Arc::new(BinaryArray::from(bytes))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_657), Some(-719_162), None]))),
        ("at", Arc::new(times().with_timezone("UTC"))),
        ("local", Arc::new(times())),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![Some(-105), Some(123_456_789), None])
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ),
        ),
        ("list", Arc::new(lists.finish())),
        ("texts", Arc::new(texts.finish())),
        ("map", Arc::new(maps.finish())),
        ("struct", Arc::new(StructArray::from(vec![(field, inner)]))),
    ]);
    let info = write(&area, spec(&server, PostgresWrite::Append), &[], &rows).await.unwrap();
    assert_eq!(info.unwrap().written, 3);
    server.execute("ALTER ROLE millpond SET timezone = 'UTC'");
    let found = server.query("SELECT * FROM readings");
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(
        lines,
        [
            "t|-128|-2147483648|-9223372036854775808|0.1|0.1|tab\there ü|\\x00ff|2023-10-27|\
             2023-10-27 12:00:00.12+00|2023-10-27 12:00:00.12|-1.05|{1,NULL,-3}|{\"a,b\",NULL}|\
             {\"a\": \"1\"}|{\"x\": 7}",
            "f|127|2147483647|9223372036854775807|NaN|-Infinity||\\x|0001-01-01|\
             1969-12-31 23:59:59.999999+00|1969-12-31 23:59:59.999999|1234567.89|{}|NULL|\
             {\"a\": \"ü\\\"\\\\\"}|{}",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|{\"\"}|NULL|{}",
        ]
    );
    let types = server.query(
        "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
         FROM pg_attribute WHERE attrelid = 'readings'::regclass AND attnum > 0",
    );
    assert_eq!(
        types,
        "boolean, smallint, integer, bigint, real, double precision, text, bytea, date, \
         timestamp with time zone, timestamp without time zone, numeric(12,2), bigint[], text[], \
         jsonb, jsonb"
    );
}

#[tokio::test]
async fn decimals_of_every_size_arrive() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let top = 10i128.pow(38) - 1;
    let values: Vec<i128> =
        [0, 1, -1, 9_999, 10_000, -10_001, 99_990_000, 120_000_000, top, -top, top / 7].into();
    for scale in [0, 1, 2, 3, 4, 5, 18, 37, 38] {
        let array =
            Decimal128Array::from(values.clone()).with_precision_and_scale(38, scale).unwrap();
        let expected: Vec<String> =
            (0..values.len()).map(|row| array.value_as_string(row)).collect();
        let mut area = Area::new();
        area.context.sink = format!("scale {scale}");
        let options =
            PostgresOptions::new(server.url(), format!("d{scale}"), PostgresWrite::Append);
        let rows = batch(vec![("d", Arc::new(array))]);
        write(&area, TargetSpec::Postgres(options), &[], &rows).await.unwrap();
        let found = server.query(&format!("SELECT d FROM d{scale}"));
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "scale {scale}");
    }
}

#[tokio::test]
async fn upsert_keeps_the_last_row_of_each_key_and_null_is_one() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let rows = |keys: Vec<Option<&str>>, values: Vec<i64>| {
        batch(vec![
            ("Key", Arc::new(StringArray::from(keys))),
            ("value", Arc::new(Int64Array::from(values))),
        ])
    };
    let first = rows(vec![Some("a"), None, Some("a")], vec![1, 2, 3]);
    let mut context = area.context.clone();
    context.schema = first.schema();
    context.keys = vec!["Key".into()];
    context.mode = OutputMode::Update;
    let spec = spec(&server, PostgresWrite::Upsert);
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    let info = epoch(&mut sink, 1, &first).await;
    assert_eq!((info.rows, info.written), (3, 2));
    epoch(&mut sink, 2, &rows(vec![None, Some("b")], vec![20, 30])).await;
    let found = server.query("SELECT * FROM readings ORDER BY value");
    assert_eq!(found, "a|3\nNULL|20\nb|30");
    let epochs = server.query("SELECT pipeline, sink, instance, epoch, rows FROM millpond_epochs");
    assert_eq!(epochs, "shop|out|one|2|2");
}

#[tokio::test]
async fn a_window_is_a_key() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let rows = |value: f64| {
        let time = |us: i64| {
            Arc::new(TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC")) as ArrayRef
        };
        let (start, end) = (time(0), time(10_000_000));
        let field = |name: &str| Arc::new(Field::new(name, start.data_type().clone(), true));
        let window = StructArray::from(vec![(field("start"), start.clone()), (field("end"), end)]);
        batch(vec![
            ("window", Arc::new(window)),
            ("avg", Arc::new(Float64Array::from(vec![value]))),
        ])
    };
    let mut context = area.context.clone();
    context.schema = rows(0.0).schema();
    context.keys = vec!["window".into()];
    let spec = spec(&server, PostgresWrite::Upsert);
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    epoch(&mut sink, 1, &rows(1.0)).await;
    epoch(&mut sink, 2, &rows(2.5)).await;
    let found = server.query("SELECT \"window\"->>'start', avg FROM readings");
    assert_eq!(found, "1970-01-01T00:00:00.000Z|2.5");
}

#[tokio::test]
async fn complete_mode_replaces_the_table_in_one_transaction() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let spec = spec(&server, PostgresWrite::Upsert);
    let mut sink = area.open(spec, OutputMode::Complete, None).await.unwrap();
    epoch(&mut sink, 1, &batch_of(&[(1, "a"), (2, "b")])).await;
    epoch(&mut sink, 2, &batch_of(&[(3, "c")])).await;
    assert_eq!(server.query("SELECT * FROM readings"), "3|c");
    sink.prepare(3).await.unwrap();
    sink.commit(3).await.unwrap();
    assert_eq!(server.query("SELECT count(*) FROM readings"), "0");
}

#[tokio::test]
async fn a_table_that_is_there_may_have_other_types_and_more_columns() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    server.execute(
        "CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('good', 'bad'); CREATE DOMAIN s.short AS varchar(5); \
         CREATE TABLE s.readings (n integer, price numeric(6,1), name s.short, id uuid, doc json, \
         mood s.mood, at timestamp, noted timestamptz NOT NULL DEFAULT now(), more text)",
    );
    let rows = batch(vec![
        ("name", Arc::new(StringArray::from(vec!["abc"]))),
        ("n", Arc::new(Int64Array::from(vec![7]))),
        ("price", Arc::new(Float64Array::from(vec![1.25]))),
        ("id", Arc::new(StringArray::from(vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]))),
        ("doc", Arc::new(StringArray::from(vec!["{\"a\":1}"]))),
        ("mood", Arc::new(StringArray::from(vec!["good"]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"))),
    ]);
    let mut options = PostgresOptions::new(server.url(), "s.readings", PostgresWrite::Append);
    options.create = false;
    server.execute("ALTER ROLE millpond SET timezone = 'UTC'");
    write(&area, TargetSpec::Postgres(options.clone()), &[], &rows).await.unwrap();
    assert_eq!(
        server.query("SELECT n, price, name, id, doc, mood, at, more FROM s.readings"),
        "7|1.3|abc|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{\"a\":1}|good|1970-01-01 00:00:00|NULL"
    );
    // A value that does not fit is the row's fault, not the table's.
    let mut area = Area::new();
    area.context.sink = "other".into();
    let rows = rows.slice(0, 1);
    let long = batch(vec![("name", Arc::new(StringArray::from(vec!["too long for it"])))]);
    let error = write(&area, TargetSpec::Postgres(options), &[], &long).await.unwrap_err();
    assert!(matches!(error, SinkError::Data { .. }), "{error}");
    assert!(error.to_string().contains("too long for type character varying(5)"), "{error}");
    assert_eq!(rows.num_rows(), 1);
}

#[tokio::test]
async fn what_does_not_fit_is_named_column_by_column() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    server.execute(
        "CREATE TABLE readings (\"Name\" text, id boolean, must integer NOT NULL, \
         always integer GENERATED ALWAYS AS IDENTITY)",
    );
    let rows = batch(vec![
        ("name", Arc::new(StringArray::from(vec!["a"]))),
        ("id", Arc::new(Int64Array::from(vec![1]))),
        ("always", Arc::new(Int32Array::from(vec![1]))),
        ("temperature", Arc::new(Float64Array::from(vec![1.0]))),
    ]);
    let upsert = spec(&server, PostgresWrite::Upsert);
    let error = write(&area, upsert, &["id"], &rows).await.unwrap_err();
    assert!(matches!(error, SinkError::Schema { .. }), "{error}");
    let text = error.to_string();
    for words in [
        "column `name` is missing; there is `Name`",
        "column `id` is boolean in the table and bigint in the rows",
        "column `always` is computed by the server",
        "column `temperature` (double precision) is missing",
        "column `must` is NOT NULL without a default",
        "no unique index or primary key has exactly the key columns id",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let mut options = PostgresOptions::new(server.url(), "nowhere", PostgresWrite::Append);
    options.create = false;
    let error = write(&area, TargetSpec::Postgres(options), &[], &rows).await.unwrap_err();
    assert!(error.to_string().contains("there is no such table"), "{error}");
    let missing = spec(&server, PostgresWrite::Upsert);
    let error = write(&area, missing, &[], &rows).await.unwrap_err();
    assert!(error.to_string().contains("set `key`"), "{error}");
}

#[tokio::test]
async fn a_row_that_is_refused_is_named_and_none_is_written() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    server.execute("CREATE TABLE readings (id bigint NOT NULL CHECK (id < 100), name text UNIQUE)");
    let ids = |ids: Vec<Option<i64>>| {
        let names: Vec<String> = (0..ids.len()).map(|i| format!("n{i}")).collect();
        batch(vec![
            ("id", Arc::new(Int64Array::from(ids))),
            ("name", Arc::new(StringArray::from(names))),
        ])
    };
    for (write_as, rows, words) in [
        (PostgresWrite::Append, ids(vec![Some(1), Some(2), None]), "(id=NULL, name=n2)"),
        (PostgresWrite::Append, ids(vec![Some(1), Some(200)]), "(id=200, name=n1)"),
        (PostgresWrite::Upsert, ids(vec![Some(1), Some(200)]), "Failing row contains (200, n1)"),
        (
            PostgresWrite::Append,
            batch(vec![
                ("id", Arc::new(Int64Array::from(vec![1, 2]))),
                ("name", Arc::new(StringArray::from(vec!["a", "b\0"]))),
            ]),
            "U+0000",
        ),
        (
            PostgresWrite::Append,
            batch(vec![
                ("id", Arc::new(Int64Array::from(vec![1, 2]))),
                ("name", Arc::new(StringArray::from(vec!["a", "a"]))),
            ]),
            "Key (name)=(a) already exists",
        ),
    ] {
        let error = write(&area, spec(&server, write_as), &["name"], &rows).await.unwrap_err();
        assert!(matches!(error, SinkError::Data { .. }) && !error.is_transient(), "{error}");
        assert!(error.to_string().contains(words), "{words} in {error}");
        assert_eq!(server.query("SELECT count(*) FROM readings"), "0");
        assert_eq!(server.query("SELECT count(*) FROM millpond_epochs"), "0");
    }
    // An index that takes every NULL for another one.
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec![Some("a"), None]))),
    ]);
    let error =
        write(&area, spec(&server, PostgresWrite::Upsert), &["name"], &rows).await.unwrap_err();
    assert!(error.to_string().contains("key column `name` is NULL"), "{error}");
}

#[tokio::test]
async fn a_crash_anywhere_applies_each_epoch_once() {
    let epochs = vec![vec![(1, "a")], vec![(2, "b"), (3, "c"), (2, "d")], vec![], vec![(1, "e")]];
    let home = Area::new();
    let server = Postgres::start(home.dir.path(), &[]);
    let own = ["postgres::begun", "postgres::written", "postgres::noted", "postgres::committed"];
    let modes = [
        (OutputMode::Append, PostgresWrite::Append, "1|a\n1|e\n2|b\n2|d\n3|c"),
        (OutputMode::Update, PostgresWrite::Upsert, "1|e\n2|d\n3|c"),
        (OutputMode::Complete, PostgresWrite::Append, "1|e"),
    ];
    for (mode, write, expected) in modes {
        for point in STAGED_POINTS.into_iter().chain(own) {
            let after = point.ends_with("committed");
            for times in if after { 1..=1 } else { 1..=2 } {
                server.execute("DROP TABLE IF EXISTS readings, millpond_epochs");
                let area = Area::new();
                let spec = || spec(&server, write);
                killed_at(&area, spec, mode, &epochs, (point, 2, times)).await;
                let found = server.query("SELECT id, name FROM readings ORDER BY 1, 2");
                assert_eq!(found, expected, "{point} {times} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_crashes_in_the_middle_costs_and_doubles_nothing() {
    let area = Area::new();
    let mut server = Postgres::start(area.dir.path(), &["synchronous_commit = off"]);
    let spec = spec(&server, PostgresWrite::Append);
    let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    epoch(&mut sink, 1, &batch_of(&[(1, "a")])).await;
    server.kill();
    sink.write(&batch_of(&[(2, "b")])).await.unwrap();
    sink.prepare(2).await.unwrap();
    for _ in 0..2 {
        let error = sink.commit(2).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    server.up();
    // The first call may still meet the dead connection.
    let info = match sink.commit(2).await {
        Err(error) if error.is_transient() => sink.commit(2).await,
        other => other,
    };
    assert!(!info.unwrap().unwrap().already_there);
    assert_eq!(server.query("SELECT id FROM readings ORDER BY 1"), "1\n2");
    // The commit lands and its answer is lost.
    let scenario = fail::FailScenario::setup();
    fail::cfg("postgres::committed", "panic").unwrap();
    sink.write(&batch_of(&[(3, "c")])).await.unwrap();
    sink.prepare(3).await.unwrap();
    let lost = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(sink.commit(3))).await;
    assert!(lost.is_err());
    scenario.teardown();
    server.kill();
    server.up();
    let info = match sink.commit(3).await {
        Err(error) if error.is_transient() => sink.commit(3).await,
        other => other,
    };
    assert!(info.unwrap().unwrap().already_there, "an acknowledged commit survives");
    assert_eq!(server.query("SELECT id FROM readings ORDER BY 1"), "1\n2\n3");
}

#[tokio::test]
async fn another_daemon_and_a_lost_checkpoint_are_refused() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let spec = spec(&server, PostgresWrite::Append);
    let mut first = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    let other = Area::with("two");
    let mut second = other.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    first.write(&batch_of(&[(1, "a")])).await.unwrap();
    second.write(&batch_of(&[(2, "b")])).await.unwrap();
    first.prepare(1).await.unwrap();
    second.prepare(1).await.unwrap();
    // Both at once: one waits for the other's lock and finds its epoch.
    let (one, two) = tokio::join!(first.commit(1), second.commit(1));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(one.err().or(two.err()).unwrap().is_fenced());
    assert_eq!(server.query("SELECT count(*) FROM readings"), "1");
    drop((first, second));
    let winner = server.query("SELECT instance FROM millpond_epochs");
    let (winner, loser) = if winner == "one" { (area, other) } else { (other, area) };
    let error = loser.open(spec.clone(), OutputMode::Append, None).await.err().unwrap();
    assert!(matches!(error, SinkError::Ahead { known: None, .. }), "{error}");
    let error = winner.open(spec.clone(), OutputMode::Append, Some(0)).await.err().unwrap();
    assert!(matches!(error, SinkError::Ahead { known: Some(0), .. }), "{error}");
    let mut adopting = Area::with("three");
    adopting.context.adopt = true;
    let mut sink = adopting.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    epoch(&mut sink, 1, &batch_of(&[(9, "z")])).await;
    assert_eq!(server.query("SELECT instance, epoch FROM millpond_epochs"), "three|1");
    // Somebody moves the epoch under a running daemon: a restored backup.
    server.execute("UPDATE millpond_epochs SET epoch = 0");
    sink.write(&batch_of(&[(10, "z")])).await.unwrap();
    sink.prepare(2).await.unwrap();
    assert!(sink.commit(2).await.unwrap_err().is_fenced());
}

#[tokio::test]
async fn a_lock_that_is_not_given_up_is_waited_for_and_tried_again() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    let mut options = PostgresOptions::new(server.url(), "readings", PostgresWrite::Append);
    options.lock_timeout = Duration::from_millis(100);
    let spec = TargetSpec::Postgres(options);
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    epoch(&mut sink, 1, &batch_of(&[(1, "a")])).await;
    let (client, connection) =
        tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT * FROM millpond_epochs FOR UPDATE").await.unwrap();
    sink.write(&batch_of(&[(2, "b")])).await.unwrap();
    sink.prepare(2).await.unwrap();
    let error = sink.commit(2).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("55P03"), "{error}");
    client.batch_execute("ROLLBACK").await.unwrap();
    sink.commit(2).await.unwrap();
    assert_eq!(server.query("SELECT count(*) FROM readings"), "2");
}

/// A certificate for `localhost`, signed by itself, where the server finds it.
fn certificate(dir: &Path) {
    let output = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(dir.join("server.key"))
        .arg("-out")
        .arg(dir.join("server.crt"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn tls_is_verified_as_far_as_sslmode_says() {
    let area = Area::new();
    let mut server = Postgres::start(area.dir.path(), &[]);
    server.kill();
    certificate(area.dir.path());
    for name in ["server.key", "server.crt"] {
        let to = server.data().join(name);
        std::fs::copy(area.dir.path().join(name), &to).unwrap();
        let status = std::process::Command::new("chown")
            .arg("--reference")
            .arg(server.data())
            .arg(&to)
            .status()
            .unwrap();
        assert!(status.success());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&to, private).unwrap();
    }
    let settings = server.data().join("postgresql.conf");
    let mut text = std::fs::read_to_string(&settings).unwrap();
    text.push_str("ssl = on\n");
    std::fs::write(&settings, text).unwrap();
    server.up();
    let root = area.dir.path().join("server.crt").display().to_string();
    let address = |host: &str, rest: &str| {
        format!("postgres://millpond@{host}:{}/postgres?{rest}", server.port())
    };
    let rows = batch_of(&[(1, "a")]);
    let mut sinks = 0;
    for (url, outcome) in [
        (address("127.0.0.1", "sslmode=require"), Ok(())),
        (address("127.0.0.1", ""), Ok(())),
        (address("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={root}")), Ok(())),
        (address("localhost", &format!("sslmode=verify-full&sslrootcert={root}")), Ok(())),
        (
            address("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={root}")),
            Err("not valid for name"),
        ),
        (address("localhost", "sslmode=verify-full"), Err("invalid peer certificate")),
    ] {
        sinks += 1;
        let mut area = Area::new();
        area.context.sink = format!("sink {sinks}");
        let spec = TargetSpec::Postgres(PostgresOptions::new(
            url.clone(),
            "readings",
            PostgresWrite::Append,
        ));
        match (write(&area, spec, &[], &rows).await, outcome) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{url}: {error}");
                assert!(!error.is_transient(), "{error}");
            }
            (found, expected) => panic!("{url}: {found:?} instead of {expected:?}"),
        }
    }
    assert_eq!(server.query("SELECT count(*) FROM readings"), "4");
    let plain = server.query("SELECT count(*) FROM pg_stat_ssl WHERE ssl");
    assert!(plain.parse::<u32>().is_ok());
}

#[tokio::test]
async fn what_the_server_refuses_is_told_apart_from_what_passes() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &[]);
    server.execute("CREATE ROLE guest LOGIN; CREATE TABLE readings (id bigint, name text)");
    let rows = batch_of(&[(1, "a")]);
    let guest = server.url().replace("millpond@", "guest@");
    let options = PostgresOptions::new(guest, "readings", PostgresWrite::Append);
    let error = write(&area, TargetSpec::Postgres(options), &[], &rows).await.unwrap_err();
    assert!(matches!(error, SinkError::Rejected { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("permission denied") && text.contains("CREATE TABLE IF NOT EXISTS"),
        "{text}"
    );
    let nowhere = server.url().replace("/postgres?", "/nowhere?");
    let options = PostgresOptions::new(nowhere, "readings", PostgresWrite::Append);
    let error = write(&area, TargetSpec::Postgres(options), &[], &rows).await.unwrap_err();
    assert!(error.to_string().contains("\"nowhere\" does not exist") && !error.is_transient());
    let options = PostgresOptions::new(
        "postgres://u:secret@127.0.0.1:1/d",
        "readings",
        PostgresWrite::Append,
    );
    let error = write(&area, TargetSpec::Postgres(options), &[], &rows).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1/d"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn many_rows_arrive() {
    let area = Area::new();
    let server = Postgres::start(area.dir.path(), &["fsync = off"]);
    let spec = spec(&server, PostgresWrite::Append);
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    for start in (0..200_000).step_by(8_000) {
        let ids: Int64Array = (start..start + 8_000).map(Some).collect();
        let names: StringArray =
            (start..start + 8_000).map(|id| Some(format!("name {id}"))).collect();
        let batch =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(ids), Arc::new(names)]).unwrap();
        sink.write(&batch).await.unwrap();
    }
    sink.prepare(1).await.unwrap();
    let info = sink.commit(1).await.unwrap().unwrap();
    eprintln!("{} rows in {:?}", info.written, info.took);
    assert_eq!(server.query("SELECT count(*), sum(id) FROM readings"), "200000|19999900000");
}
