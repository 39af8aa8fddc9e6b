//! Where it begins, how it goes on, and that a restart anywhere changes nothing.

use deltalake::operations::optimize::OptimizeType;
use deltalake::protocol::SaveMode;

use super::*;

#[test]
fn a_snapshot_comes_first_and_then_what_follows() {
    let place = Place::new();
    place.append(0..3);
    place.append(3..5);
    let mut reader = Reader::new(place.open(&place.options()));
    reader.until(|seen| seen.rows.len() == 5);
    assert_eq!(reader.seen.ids(), [0, 1, 2, 3, 4]);
    assert_eq!(reader.seen.rows[0].0, position(2, 0), "all at the newest version");
    place.append(5..7);
    place.append(7..8);
    reader.until(|seen| seen.rows.len() == 8 && seen.next == position(5, 0));
    assert_eq!(reader.seen.ids(), (0..8).collect::<Vec<_>>());
    assert_eq!(reader.seen.rows[5].0, position(3, 0));
    assert_eq!(reader.source.backlog(), Some(0));
}

#[test]
fn every_position_leads_to_the_rest() {
    let place = Place::with(&["name"], &[]);
    place.append(0..3);
    place.append(3..5);
    let options = place.options();
    drop(place.open(&options));
    for version in 0..3 {
        // Several files a version: a partition each.
        place.append(10 * version + 10..10 * version + 14);
    }
    let all = place.read(&options);
    assert_eq!(all.sorted().len(), 17);
    let ends: Vec<i64> = all.rows.iter().map(|(at, _)| at + 1).collect();
    for (read, next) in std::iter::once(0).chain(ends).enumerate() {
        let mut reader = Reader::new(place.open(&options));
        reader.source.seek(next).unwrap();
        reader.source.bound().unwrap();
        reader.limit = 2;
        reader.until(|seen| seen.finished);
        assert_eq!(reader.seen.rows, all.rows[read..], "from {next}");
        assert_eq!(reader.seen.next, all.next);
    }
}

#[test]
fn large_files_are_read_in_pieces_and_go_on_in_the_middle() {
    let place = Place::new();
    place.append(0..50_000);
    let all = place.read(&place.options());
    assert_eq!(all.ids(), (0..50_000).collect::<Vec<_>>());
    let mut reader = Reader::new(place.open(&place.options()));
    reader.source.seek(position(1, 31_234)).unwrap();
    reader.source.bound().unwrap();
    reader.until(|seen| seen.finished);
    assert_eq!(reader.seen.ids(), (31_234..50_000).collect::<Vec<_>>());
}

#[test]
fn it_begins_where_it_is_told() {
    let place = Place::new();
    for version in 0..4 {
        place.append(version..version + 1);
    }
    let at = |version: i64| {
        run(async {
            let table = Table::open(Arc::new(place.options())).unwrap();
            let commit = table.commit(version).await.unwrap().unwrap();
            table.committed_us(version, &commit).await.unwrap()
        })
    };
    let from = |start| {
        let options = DeltaOptions { start, ..place.options() };
        let mut source = place.open(&options);
        std::fs::remove_dir_all(place.sources()).unwrap();
        let end = source.bound().unwrap();
        let mut reader = Reader::new(source);
        reader.until(|seen| seen.finished);
        assert_eq!(reader.seen.next, end);
        reader.seen.ids()
    };
    assert_eq!(from(DeltaStart::Version(0)), [0, 1, 2, 3]);
    assert_eq!(from(DeltaStart::Version(3)), [2, 3]);
    assert_eq!(from(DeltaStart::Version(5)), [0; 0], "what follows");
    assert_eq!(from(DeltaStart::Latest), [0; 0]);
    assert_eq!(from(DeltaStart::Snapshot).len(), 4);
    assert_eq!(from(DeltaStart::Timestamp(0)), [0, 1, 2, 3]);
    assert_eq!(from(DeltaStart::Timestamp(at(3))), [2, 3]);
    assert_eq!(from(DeltaStart::Timestamp(at(3) + 1)), [3]);
    assert_eq!(from(DeltaStart::Timestamp(at(4) + 1)), [0; 0]);
    let options = DeltaOptions { start: DeltaStart::Version(6), ..place.options() };
    let error = place.try_open(&options).err().unwrap();
    assert!(error.to_string().contains("newest is 4"), "{error}");
}

#[test]
fn where_it_began_is_remembered() {
    let place = Place::new();
    place.append(0..1);
    let options = DeltaOptions { start: DeltaStart::Latest, ..place.options() };
    drop(place.open(&options));
    place.append(1..2);
    assert_eq!(place.read(&options).ids(), [1], "latest was then, not now");
}

#[test]
fn rewrites_that_change_nothing_are_passed_over() {
    let place = Place::new();
    let options = DeltaOptions { start: DeltaStart::Version(0), ..place.options() };
    for id in 0..4 {
        place.append(id..id + 1);
    }
    run(async {
        let table = place.table().await;
        let (_, metrics) = table.optimize().with_type(OptimizeType::Compact).await.unwrap();
        assert_eq!(metrics.num_files_removed, 4);
    });
    place.append(4..5);
    let seen = place.read(&options);
    assert_eq!(seen.ids(), [0, 1, 2, 3, 4]);
    assert_eq!(seen.next, position(7, 0));
}

#[test]
fn updates_and_deletes_are_an_error_unless_they_are_expected() {
    let place = Place::new();
    place.append(0..4);
    run(async {
        let table = place.table().await;
        let (table, _) = table.delete().with_predicate("id = 1").await.unwrap();
        table.write(vec![rows(9..10)]).with_save_mode(SaveMode::Overwrite).await.unwrap()
    });
    let start = DeltaStart::Version(0);
    let with = |rewrites| {
        let options = DeltaOptions { start, rewrites, ..place.options() };
        let mut reader = Reader::new(place.open(&options));
        reader.source.bound().unwrap();
        reader.until(|seen| seen.finished);
        reader.seen
    };
    let seen = with(Rewrites::default());
    assert_eq!(seen.ids(), [0, 1, 2, 3]);
    let error = seen.error.unwrap();
    assert_eq!((error.code(), error.is_transient()), ("rewritten", false));
    let text = error.to_string();
    for word in ["version 2", "DELETE", "skip_change_commits", "ignore_changes", "change_feed"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    // The delete has rewritten a file, so it is a change and not only a delete.
    let only_deletes = Rewrites { ignore_deletes: true, ..Rewrites::default() };
    assert_eq!(with(only_deletes).error.unwrap().code(), "rewritten");
    let skipped = with(Rewrites { skip_change_commits: true, ..Rewrites::default() });
    assert_eq!(skipped.ids(), [0, 1, 2, 3]);
    let again = with(Rewrites { ignore_changes: true, ..Rewrites::default() });
    assert_eq!(again.ids(), [0, 1, 2, 3, 0, 2, 3, 9]);
}

#[test]
fn whole_partitions_may_be_deleted_when_deletes_are_ignored() {
    let place = Place::with(&["name"], &[]);
    place.append(0..2);
    run(async {
        place.table().await.delete().with_predicate("name = 'n1'").await.unwrap();
    });
    place.append(2..3);
    let start = DeltaStart::Version(0);
    let options = DeltaOptions { start, ..place.options() };
    let mut reader = Reader::new(place.open(&options));
    reader.source.bound().unwrap();
    let error = reader.until_error().to_string();
    assert!(error.contains("deleted rows") && error.contains("ignore_deletes"), "{error}");
    let rewrites = Rewrites { ignore_deletes: true, ..Rewrites::default() };
    let seen = place.read(&DeltaOptions { rewrites, ..options });
    assert_eq!(seen.sorted(), [0, 1, 2]);
}

#[test]
fn a_trigger_reads_no_more_than_its_files() {
    let place = Place::new();
    for id in 0..4 {
        place.append(id * 3..id * 3 + 3);
    }
    let options = DeltaOptions {
        max_files_per_trigger: Some(2),
        start: DeltaStart::Version(0),
        ..place.options()
    };
    let mut reader = Reader::new(place.open(&options));
    reader.source.bound().unwrap();
    reader.limit = 2;
    reader.until(|seen| seen.finished);
    assert_eq!(reader.seen.ids(), (0..6).collect::<Vec<_>>());
    assert!(reader.seen.limited && !reader.seen.finished);
    assert_eq!(reader.source.backlog(), Some(2));
    reader.source.barrier(1);
    reader.until(|seen| seen.finished);
    assert_eq!(reader.seen.ids(), (0..12).collect::<Vec<_>>());
    assert!(reader.seen.finished);
}
