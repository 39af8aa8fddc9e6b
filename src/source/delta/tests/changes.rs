//! The change feed, and deletion vectors.

use arrow::compute::concat_batches;
use deltalake::protocol::SaveMode;
use serde_json::{Value, json};

use super::*;

const FEED: (&str, &str) = ("delta.enableChangeDataFeed", "true");

/// Id, change and version of every row, sorted.
fn changes(seen: &Seen) -> Vec<(i64, i64, String)> {
    if seen.batches.is_empty() {
        return Vec::new();
    }
    let all = concat_batches(&seen.batches[0].schema(), &seen.batches).unwrap();
    let ids = all.column(0).as_primitive::<Int64Type>();
    let changes = all.column(2).as_string::<i32>();
    let versions = all.column(3).as_primitive::<Int64Type>();
    assert_eq!(all.column(4).null_count(), 0);
    let row = |i: usize| (versions.value(i), ids.value(i), changes.value(i).to_owned());
    let mut rows: Vec<_> = (0..all.num_rows()).map(row).collect();
    rows.sort();
    rows
}

fn row(version: i64, id: i64, change: &str) -> (i64, i64, String) {
    (version, id, change.to_owned())
}

#[test]
fn a_change_feed_has_inserts_updates_and_deletes() {
    let place = Place::with(&[], &[FEED]);
    place.append(0..3);
    run(async {
        let table = place.table().await;
        let update = table.update().with_predicate("id = 1").with_update("name", "'new'");
        let (table, _) = update.await.unwrap();
        let (table, _) = table.delete().with_predicate("id = 0").await.unwrap();
        table.write(vec![rows(7..8)]).with_save_mode(SaveMode::Overwrite).await.unwrap()
    });
    let options =
        DeltaOptions { change_feed: true, start: DeltaStart::Version(0), ..place.options() };
    let all = place.read(&options);
    let expected = vec![
        row(1, 0, "insert"),
        row(1, 1, "insert"),
        row(1, 2, "insert"),
        row(2, 1, "update_postimage"),
        row(2, 1, "update_preimage"),
        row(3, 0, "delete"),
        row(4, 1, "delete"),
        row(4, 2, "delete"),
        row(4, 7, "insert"),
    ];
    assert_eq!(changes(&all), expected);
    // And from the middle of each version.
    for (read, (at, _)) in all.rows.iter().enumerate() {
        let mut reader = Reader::new(place.open(&options));
        reader.source.seek(*at).unwrap();
        reader.source.bound().unwrap();
        reader.until(|seen| seen.finished);
        assert_eq!(reader.seen.rows, all.rows[read..]);
    }
}

#[test]
fn a_change_feed_may_begin_with_a_snapshot() {
    let place = Place::with(&["name"], &[FEED]);
    place.append(0..2);
    place.append(2..3);
    let options = DeltaOptions { change_feed: true, ..place.options() };
    drop(place.open(&options));
    run(async { place.table().await.delete().with_predicate("name = 'n1'").await.unwrap() });
    let seen = place.read(&options);
    let insert = |id| row(2, id, "insert");
    assert_eq!(changes(&seen), [insert(0), insert(1), insert(2), row(3, 1, "delete")]);
}

/// Writes a commit into the log by hand.
fn commit(place: &Place, version: i64, actions: &[Value]) {
    let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
    let path = place.path().join(format!("_delta_log/{version:020}.json"));
    std::fs::write(path, text).unwrap();
}

fn actions(place: &Place, version: i64) -> Vec<Value> {
    let path = place.path().join(format!("_delta_log/{version:020}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rewrites version 0 to allow deletion vectors, and returns the data file's `add`.
fn allow_vectors(place: &Place) -> Value {
    let mut first = actions(place, 0);
    for action in &mut first {
        if action.get("protocol").is_some() {
            *action = json!({"protocol": {
                "minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]
            }});
        }
    }
    commit(place, 0, &first);
    let add = actions(place, 1).into_iter().find(|action| action.get("add").is_some()).unwrap();
    add["add"].clone()
}

#[test]
fn deletion_vectors_leave_rows_out_and_are_deletes_in_a_change_feed() {
    let place = Place::new();
    place.append(0..30);
    let add = allow_vectors(&place);
    // The protocol's example: rows 3, 4, 7, 11, 18, 29.
    let vector = json!({
        "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 6
    });
    let mut added = add.clone();
    added["deletionVector"] = vector;
    let removed = json!({
        "path": add["path"], "deletionTimestamp": 1, "dataChange": true,
        "extendedFileMetadata": true, "partitionValues": {}, "size": add["size"]
    });
    let info = json!({"commitInfo": {"timestamp": 1_700_000_000_000i64, "operation": "DELETE"}});
    commit(&place, 2, &[info, json!({"remove": removed}), json!({"add": added})]);

    let gone = [3, 4, 7, 11, 18, 29];
    let left: Vec<i64> = (0..30).filter(|id| !gone.contains(id)).collect();
    let snapshot = place.read(&place.options());
    assert_eq!(snapshot.ids(), left);
    for (read, (at, _)) in snapshot.rows.iter().enumerate() {
        let mut reader = Reader::new(place.open(&place.options()));
        reader.source.seek(*at).unwrap();
        reader.source.bound().unwrap();
        reader.until(|seen| seen.finished);
        assert_eq!(reader.seen.rows, snapshot.rows[read..]);
    }

    std::fs::remove_dir_all(place.sources()).unwrap();
    let options =
        DeltaOptions { change_feed: true, start: DeltaStart::Version(2), ..place.options() };
    let seen = place.read(&options);
    assert_eq!(changes(&seen), gone.map(|id| row(2, id, "delete")));
    let at = seen.batches[0].column(4);
    let at = at.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(at.value(0), 1_700_000_000_000_000);
}

#[test]
fn mapped_columns_are_found_by_their_physical_names() {
    let place = Place::new();
    place.append(0..3);
    let mut first = actions(&place, 0);
    for action in &mut first {
        if let Some(metadata) = action.get_mut("metaData") {
            metadata["configuration"] = json!({"delta.columnMapping.mode": "name"});
            let mut schema: Value =
                serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
            for (index, (logical, physical)) in
                [("key", "id"), ("title", "name")].iter().enumerate()
            {
                let field = &mut schema["fields"][index];
                field["name"] = json!(logical);
                field["metadata"] = json!({
                    "delta.columnMapping.id": index + 1,
                    "delta.columnMapping.physicalName": physical
                });
            }
            metadata["schemaString"] = json!(schema.to_string());
        }
        if action.get("protocol").is_some() {
            *action = json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}});
        }
    }
    commit(&place, 0, &first);
    let options = place.options();
    let mut source = place.open(&options);
    source.bound().unwrap();
    let batch = loop {
        let taken = source.take_columns(100).unwrap();
        assert!(taken.error.is_none(), "{:?}", taken.error);
        if let Some(batch) = taken.batch {
            break batch;
        }
        std::thread::yield_now();
    };
    assert_eq!(batch.schema().field(0).name(), "key");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values().to_vec(), [0, 1, 2]);
    assert_eq!(batch.column(1).as_string::<i32>().value(2), "n2");
}
