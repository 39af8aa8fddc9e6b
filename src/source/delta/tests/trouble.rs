//! What is gone, what has changed, and what comes back.

use chrono::TimeDelta;
use deltalake::kernel::StructField;
use deltalake::operations::write::SchemaMode;
use deltalake::protocol::SaveMode;

use super::*;

fn from_the_beginning(place: &Place) -> DeltaOptions {
    DeltaOptions { start: DeltaStart::Version(0), ..place.options() }
}

#[test]
fn a_vacuumed_file_is_a_clear_error() {
    let place = Place::new();
    place.append(0..3);
    run(async {
        let table = place.table().await;
        let write = table.write(vec![rows(9..10)]).with_save_mode(SaveMode::Overwrite);
        let (_, metrics) = write
            .await
            .unwrap()
            .vacuum()
            .with_retention_period(TimeDelta::zero())
            .with_enforce_retention_duration(false)
            .await
            .unwrap();
        assert_eq!(metrics.files_deleted.len(), 1);
    });
    let error = Reader::new(place.open(&from_the_beginning(&place))).until_error();
    assert_eq!((error.code(), error.is_transient()), ("gone", false));
    let text = error.to_string();
    assert!(text.contains("vacuumed") && text.contains("version 1"), "{text}");
}

#[test]
fn a_commit_that_was_cleaned_up_is_a_clear_error() {
    let place = Place::new();
    for id in 0..3 {
        place.append(id..id + 1);
    }
    let options = from_the_beginning(&place);
    drop(place.open(&options));
    run(async {
        let table = place.table().await;
        deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    });
    for version in 0..3 {
        std::fs::remove_file(place.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let mut reader = Reader::new(place.open(&options));
    reader.source.seek(position(2, 0)).unwrap();
    let error = reader.until_error();
    assert_eq!(error.code(), "gone");
    assert!(error.to_string().contains("logRetentionDuration"), "{error}");
    // Whoever comes new begins with the snapshot, which is still whole.
    std::fs::remove_dir_all(place.sources()).unwrap();
    assert_eq!(place.read(&place.options()).sorted(), [0, 1, 2]);
    std::fs::remove_dir_all(place.sources()).unwrap();
    let error = place.try_open(&DeltaOptions { start: DeltaStart::Version(1), ..options });
    assert_eq!(error.err().unwrap().code(), "gone");
}

#[test]
fn a_new_column_is_left_out_and_a_changed_one_is_an_error() {
    let place = Place::new();
    place.append(0..2);
    let mut reader = Reader::new(place.open(&place.options()));
    reader.until(|seen| seen.rows.len() == 2);
    run(async {
        let extra = StructField::nullable("extra", DeltaType::Primitive(PrimitiveType::Long));
        place.table().await.add_columns().with_fields([extra]).await.unwrap()
    });
    run(async {
        let write = place.table().await.write(vec![rows(2..3)]);
        write.with_schema_mode(SchemaMode::Merge).await.unwrap()
    });
    reader.until(|seen| seen.rows.len() == 3);
    assert_eq!(reader.seen.batches[1].num_columns(), 2);
    // The next start sees it, with NULL where it was not yet there.
    std::fs::remove_dir_all(place.sources()).unwrap();
    let seen = place.read(&place.options());
    assert_eq!(seen.batches[0].num_columns(), 3);
    assert_eq!(seen.sorted(), [0, 1, 2]);

    let path = place.path().join("_delta_log/00000000000000000000.json");
    let first = std::fs::read_to_string(path).unwrap();
    let metadata = first.lines().find(|line| line.contains("metaData")).unwrap();
    for (from, to, what) in [
        (r#"\"name\":\"name\""#, r#"\"name\":\"title\""#, "`name` is gone"),
        (r#"\"long\""#, r#"\"string\""#, "`id` was Int64"),
        (r#""id":""#, r#""id":"other"#, "replaced by another table"),
    ] {
        let changed = metadata.replacen(from, to, 1);
        assert_ne!(changed, metadata, "{from} in {metadata}");
        let next = place.path().join(format!("_delta_log/{:020}.json", 4));
        let mut reader = Reader::new(place.open(&place.options()));
        reader.until(|seen| seen.rows.len() == 3);
        // Renamed into place: a version of a log is there whole or not at all.
        let staged = place.path().join("_delta_log/staged.tmp");
        std::fs::write(&staged, changed).unwrap();
        std::fs::rename(&staged, &next).unwrap();
        let error = reader.until_error();
        assert_eq!((error.code(), error.is_transient()), ("schema", false), "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("version 4"), "{text}");
        std::fs::remove_file(next).unwrap();
    }
}

#[test]
fn another_table_at_the_address_is_recognised() {
    let place = Place::new();
    place.append(0..2);
    let options = place.options();
    drop(place.open(&options));
    let other = Place::new();
    std::fs::remove_dir_all(place.path()).unwrap();
    std::fs::rename(other.path(), place.path()).unwrap();
    let error = place.try_open(&options).err().unwrap();
    assert_eq!(error.code(), "schema");
    assert!(error.to_string().contains("another table"), "{error}");
}

#[test]
fn a_table_that_is_not_there_yet_may_come() {
    let dir = tempfile::tempdir().unwrap();
    let missing = DeltaOptions::new(dir.path().join("no/table").to_str().unwrap());
    let error = DeltaSource::schema(&missing).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no/table"), "{error}");
    let empty = DeltaOptions::new(dir.path().to_str().unwrap());
    let error = DeltaSource::schema(&empty).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no Delta table"), "{error}");
    for path in ["", "gopher://x/y"] {
        let error = DeltaSource::schema(&DeltaOptions::new(path)).unwrap_err();
        assert!(!error.is_transient(), "{error}");
    }
}

#[test]
fn a_table_that_is_away_for_a_while_is_waited_for() {
    let place = Place::new();
    place.append(0..2);
    let mut reader = Reader::new(place.open(&place.options()));
    let away = place.dir.path().join("away");
    std::fs::rename(place.path(), &away).unwrap();
    reader.take();
    let began = std::time::Instant::now();
    while reader.source.trouble().is_none() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    assert!(reader.seen.error.is_none() && reader.source.backlog() == Some(1));
    std::fs::rename(&away, place.path()).unwrap();
    reader.until(|seen| seen.next == position(2, 0));
    assert_eq!(reader.seen.ids(), [0, 1]);
    // The rows may be here a moment before the word that all is well.
    while reader.source.trouble().is_some() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn what_the_table_does_not_have_is_refused_at_once() {
    let place = Place::new();
    place.append(0..1);
    let utf8 = |name: &str| arrow::datatypes::Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![utf8("id"), utf8("colour")]));
    let open = |projection: &[usize]| {
        DeltaSource::open(place.options(), &schema, projection, &place.sources(), "t")
    };
    let error = open(&[0, 1]).err().unwrap().to_string();
    assert!(error.contains("`id`") && error.contains("`colour`"), "{error}");
    assert_eq!(open(&[7]).err().unwrap().code(), "option");
    let none = DeltaOptions { max_files_per_trigger: Some(0), ..place.options() };
    assert_eq!(place.try_open(&none).err().unwrap().code(), "option");
    let mut source = place.open(&DeltaOptions { start: DeltaStart::Version(1), ..place.options() });
    assert_eq!(source.seek(5).unwrap_err().code(), "position");
}
