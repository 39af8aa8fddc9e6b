use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use proptest::prelude::*;

use super::testing::{Area, batch_of, schema};
use super::*;
use crate::sink::memory::{MemoryOptions, MemoryTable};

fn memory() -> (Arc<MemoryTable>, TargetSpec) {
    let table = Arc::new(MemoryTable::new(1_000_000));
    (table.clone(), TargetSpec::Memory(MemoryOptions { table }))
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn pairs(batches: impl IntoIterator<Item = RecordBatch>) -> Vec<(Option<i64>, Option<String>)> {
    let mut pairs = Vec::new();
    for batch in batches {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let names = batch.column(1).as_string::<i32>();
        for row in 0..batch.num_rows() {
            pairs.push((
                ids.is_valid(row).then(|| ids.value(row)),
                names.is_valid(row).then(|| names.value(row).to_owned()),
            ));
        }
    }
    pairs
}

fn files(area: &Area) -> Vec<String> {
    let dir = directory(&area.dir.path().join("staged"), "out");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_epoch_of_any_size_comes_back_in_order() {
    let area = Area::new();
    let (table, spec) = memory();
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    // The second epoch is too large to stay in memory and is read back from its file.
    let mut expected = Vec::new();
    for (epoch, rows) in [(1, 10), (2, 400_000)] {
        let first = expected.len() as i64;
        for start in (0..rows).step_by(8_000) {
            let end = (start + 8_000).min(rows);
            let some: Int64Array = (first + start..first + end).map(Some).collect();
            let names: StringArray = (start..end).map(|i| Some(format!("name {i}"))).collect();
            let batch = RecordBatch::try_new(schema(), vec![Arc::new(some), Arc::new(names)]);
            sink.write(&batch.unwrap()).await.unwrap();
        }
        expected.extend(first..first + rows);
        assert_eq!(sink.pending_rows(), rows as u64);
        let staged = sink.prepare(epoch).await.unwrap();
        assert_eq!(staged.rows, rows as u64);
        let path = directory(&area.dir.path().join("staged"), "out").join(&staged.file);
        assert_eq!(std::fs::metadata(path).unwrap().len(), staged.bytes);
        assert_eq!(sink.pending_rows(), 0);
        let info = sink.commit(epoch).await.unwrap().unwrap();
        assert_eq!((info.rows, info.written), (rows as u64, rows as u64));
    }
    assert_eq!(ids(&table.rows().batches), expected);
    assert_eq!(files(&area).len(), 1, "only the last epoch's file is kept: {:?}", files(&area));
}

#[tokio::test]
async fn rows_that_are_not_durable_leave_nothing_behind() {
    let area = Area::new();
    let (table, spec) = memory();
    let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.discard();
    assert_eq!(sink.commit(1).await.unwrap(), None);
    assert!(files(&area).is_empty());
    // Killed: the file stays until the next start.
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    drop(sink);
    assert_eq!(files(&area).len(), 1);
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.discard_except(&[]).unwrap();
    assert!(files(&area).is_empty());
    assert_eq!(table.rows().num_rows(), 0);
}

#[tokio::test]
async fn what_is_gone_or_damaged_is_refused() {
    for damage in ["gone", "cut", "turned"] {
        let area = Area::new();
        let (table, spec) = memory();
        let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
        sink.write(&batch_of(&[(1, "a"), (2, "b")])).await.unwrap();
        let staged = sink.prepare(1).await.unwrap();
        drop(sink);
        let path = directory(&area.dir.path().join("staged"), "out").join(&staged.file);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "gone" => std::fs::remove_file(&path).unwrap(),
            "cut" => std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap(),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
        }
        let mut sink = area.open(spec, OutputMode::Append, Some(1)).await.unwrap();
        let error = sink.recover(1, &staged, false).await.unwrap_err();
        assert!(matches!(error, SinkError::Staged { .. }), "{damage}: {error}");
        assert!(error.is_refusal() && error.to_string().contains(&staged.file), "{error}");
        assert_eq!(table.rows().num_rows(), 0);
        // What is known to be committed is not missed.
        assert_eq!(sink.recover(1, &staged, true).await.unwrap(), None);
    }
}

#[tokio::test]
async fn other_ways_to_hold_values_are_brought_into_one() {
    let area = Area::new();
    let words: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
    let given = Arc::new(Schema::new(vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("name", words.data_type().clone(), true),
    ]));
    let (table, spec) = memory();
    let context = TargetContext { schema: given.clone(), ..area.context.clone() };
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    let rows = |ids: Vec<u64>| {
        let ids = Arc::new(UInt64Array::from(ids));
        RecordBatch::try_new(given.clone(), vec![ids, Arc::new(words.clone())]).unwrap()
    };
    sink.write(&rows(vec![1, 2])).await.unwrap();
    let error = sink.write(&rows(vec![1, u64::MAX])).await.unwrap_err();
    assert!(error.to_string().contains("`id`"), "{error}");
    // The same columns in another order.
    sink.write(&rows(vec![3, 4]).project(&[1, 0]).unwrap()).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    assert_eq!(ids(&table.rows().batches), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_full_disk_costs_no_row() {
    let area = Area::new();
    let (table, spec) = memory();
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    let dir = directory(&area.dir.path().join("staged"), "out");
    let moved = area.dir.path().join("elsewhere");
    std::fs::rename(&dir, &moved).unwrap();
    let error = sink.prepare(1).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    std::fs::rename(&moved, &dir).unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    assert_eq!(ids(&table.rows().batches), [1]);
}

#[tokio::test]
async fn memory_keeps_the_newest_row_of_each_key_in_update_mode() {
    let area = Area::new();
    let (table, spec) = memory();
    let mut sink = area.open(spec, OutputMode::Update, None).await.unwrap();
    for (epoch, rows) in
        [(1, vec![(1, "a"), (2, "b"), (1, "c")]), (2, vec![(3, "d")]), (3, vec![(2, "e")])]
    {
        sink.write(&batch_of(&rows)).await.unwrap();
        sink.prepare(epoch).await.unwrap();
        sink.commit(epoch).await.unwrap();
    }
    let rows = pairs(table.rows().batches);
    let rows: Vec<_> =
        rows.iter().map(|(id, name)| (id.unwrap(), name.as_deref().unwrap())).collect();
    assert_eq!(rows, [(1, "c"), (3, "d"), (2, "e")]);
}

#[tokio::test]
async fn memory_is_bounded_and_shows_all_of_the_last_trigger_in_complete_mode() {
    let area = Area::new();
    let table = Arc::new(MemoryTable::new(3));
    let spec = TargetSpec::Memory(MemoryOptions { table: table.clone() });
    let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, ""), (2, "")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    sink.write(&batch_of(&[(3, ""), (4, ""), (5, "")])).await.unwrap();
    let staged = sink.prepare(2).await.unwrap();
    sink.commit(2).await.unwrap();
    assert_eq!((ids(&table.rows().batches), table.rows().dropped), (vec![3, 4, 5], 2));
    drop(sink);
    // The pipeline restarts inside the daemon: the epoch is there and stays once.
    let mut sink = area.open(spec, OutputMode::Append, Some(2)).await.unwrap();
    assert_eq!(sink.recover(2, &staged, false).await.unwrap(), None);
    drop(sink);
    // The daemon restarts: memory is empty, and gets the last epoch back.
    let (fresh, spec) = memory();
    let mut sink = area.open(spec.clone(), OutputMode::Complete, Some(2)).await.unwrap();
    sink.recover(2, &staged, true).await.unwrap().unwrap();
    assert_eq!(ids(&fresh.rows().batches), [3, 4, 5]);
    sink.write(&batch_of(&[(7, "")])).await.unwrap();
    sink.prepare(3).await.unwrap();
    sink.commit(3).await.unwrap();
    assert_eq!(ids(&fresh.rows().batches), [7]);
    sink.prepare(4).await.unwrap();
    sink.commit(4).await.unwrap();
    assert_eq!(fresh.rows().num_rows(), 0);
}

#[test]
fn names_of_sinks_make_names_of_directories() {
    let dir = directory(Path::new("/c"), "a/b ü.x-1_");
    assert_eq!(dir, Path::new("/c/a%2Fb%20%C3%BC%2Ex-1_"));
    assert_eq!(directory(Path::new("/c"), ".."), Path::new("/c/%2E%2E"));
}

type Pair = (Option<i64>, Option<String>);

fn optional_batch(rows: &[Pair]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|(id, _)| *id).collect();
    let names: StringArray = rows.iter().map(|(_, name)| name.clone()).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

proptest! {
    /// Against the plain way: a map from key to the place of its last row.
    #[test]
    fn the_last_row_of_each_key_is_kept(
        batches in prop::collection::vec(
            prop::collection::vec(
                (prop::option::of(0i64..4), prop::option::of("[ab]")), 0..12), 0..6),
        keys in prop::sample::select(vec![vec![], vec![0], vec![1], vec![0, 1]]),
    ) {
        let rows = StagedRows::in_memory(
            schema(), batches.iter().map(|rows| optional_batch(rows)).collect());
        let kept = rows.last_of_each(&keys).unwrap();
        let found = pairs(rows.kept_batches(&kept).unwrap().map(Result::unwrap));
        let all: Vec<Pair> = batches.concat();
        let key = |row: &Pair| {
            (keys.contains(&0).then_some(row.0), keys.contains(&1).then(|| row.1.clone()))
        };
        let mut last = BTreeMap::new();
        for (place, row) in all.iter().enumerate() {
            last.insert(key(row), place);
        }
        let expected: Vec<Pair> = all.iter().enumerate()
            .filter(|(place, row)| keys.is_empty() || last[&key(row)] == *place)
            .map(|(_, row)| row.clone())
            .collect();
        prop_assert_eq!(kept.num_rows(), expected.len() as u64);
        prop_assert_eq!(found, expected);
    }
}
