use std::io::Read;

use super::*;
use crate::sink::TargetSpec;
use crate::sink::staged::testing::{Area, STAGED_POINTS, batch_of, killed_at};

fn options(area: &Area, format: FileFormat) -> FilesOptions {
    FilesOptions {
        path: area.dir.path().join("out"),
        format,
        compression: FileCompression::None,
        partition_by: Vec::new(),
        max_file_rows: FilesOptions::MAX_FILE_ROWS,
    }
}

/// Every file that a reader would take, by its path, with its text.
fn visible(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(['_', '.']) {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let shown = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(shown, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// All lines, sorted.
fn lines(root: &Path) -> Vec<String> {
    let mut lines: Vec<String> = visible(root)
        .values()
        .flat_map(|bytes| {
            String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

async fn one_epoch(area: &Area, options: FilesOptions, rows: &[(i64, &str)]) -> CommitInfo {
    let spec = TargetSpec::Files(options);
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(rows)).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap().unwrap()
}

#[tokio::test]
async fn each_format_and_compression_reads_back() {
    let rows = [(1, "a"), (2, "b,\"c\""), (3, ""), (4, " d ")];
    let json = "{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b,\\\"c\\\"\"}\n\
                {\"id\":3,\"name\":\"\"}\n{\"id\":4,\"name\":\" d \"}\n";
    let csv = "id,name\n1,a\n2,\"b,\\\"c\\\"\"\n3,\"\"\n4, d \n";
    let with_header = FileFormat::Csv { delimiter: b',', header: true };
    for (format, expected) in [(FileFormat::Json, json), (with_header, csv)] {
        for (compression, ending) in [
            (FileCompression::None, ""),
            (FileCompression::Gzip, ".gz"),
            (FileCompression::Zstd(3), ".zst"),
        ] {
            let area = Area::new();
            let options = FilesOptions { compression, ..options(&area, format) };
            let info = one_epoch(&area, options, &rows).await;
            assert_eq!((info.files, info.rows, info.written), (1, 4, 4));
            let files = visible(&area.dir.path().join("out"));
            let (name, bytes) = files.first_key_value().unwrap();
            assert!(name.ends_with(ending) && name.starts_with("shop.out-000000000001-"), "{name}");
            assert_eq!(info.bytes, bytes.len() as u64);
            let mut text = String::new();
            match compression {
                FileCompression::None => text = String::from_utf8(bytes.clone()).unwrap(),
                FileCompression::Gzip => {
                    flate2::read::GzDecoder::new(&bytes[..])
                        .read_to_string(&mut text)
                        .map(drop)
                        .unwrap();
                }
                FileCompression::Zstd(_) => {
                    text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
                }
            }
            assert_eq!(text, expected, "{name}");
        }
    }
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd(1)] {
        let area = Area::new();
        one_epoch(&area, options(&area, FileFormat::Parquet(compression)), &rows).await;
        let files = visible(&area.dir.path().join("out"));
        let bytes = bytes::Bytes::from(files.values().next().unwrap().clone());
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, [batch_of(&rows)]);
    }
}

#[tokio::test]
async fn partitions_are_directories_and_files_have_a_size() {
    let area = Area::new();
    let options = FilesOptions {
        partition_by: vec!["name".into()],
        max_file_rows: 2,
        ..options(&area, FileFormat::Json)
    };
    let spec = TargetSpec::Files(options);
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    for rows in [[(1, "a"), (2, "b")], [(3, "a"), (4, "x/y")], [(5, "a"), (6, "a")]] {
        sink.write(&batch_of(&rows)).await.unwrap();
    }
    sink.prepare(7).await.unwrap();
    let info = sink.commit(7).await.unwrap().unwrap();
    assert_eq!((info.files, info.written), (4, 6));
    let files = visible(&area.dir.path().join("out"));
    let found: Vec<(&str, &str, &str)> = files
        .iter()
        .map(|(path, bytes)| {
            let (dir, name) = path.split_once('/').unwrap();
            (dir, &name[name.len() - 10..], std::str::from_utf8(bytes).unwrap())
        })
        .collect();
    assert_eq!(
        found,
        [
            ("name=a", "00000.json", "{\"id\":1}\n{\"id\":3}\n"),
            ("name=a", "00001.json", "{\"id\":5}\n{\"id\":6}\n"),
            ("name=b", "00000.json", "{\"id\":2}\n"),
            ("name=x%2Fy", "00000.json", "{\"id\":4}\n"),
        ]
    );
}

#[tokio::test]
async fn more_directories_than_open_files() {
    let area = Area::new();
    let options =
        FilesOptions { partition_by: vec!["name".into()], ..options(&area, FileFormat::Json) };
    let mut sink = area.open(TargetSpec::Files(options), OutputMode::Append, None).await.unwrap();
    let names: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let rows: Vec<(i64, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
    sink.write(&batch_of(&rows)).await.unwrap();
    sink.write(&batch_of(&rows)).await.unwrap();
    sink.prepare(1).await.unwrap();
    let info = sink.commit(1).await.unwrap().unwrap();
    assert_eq!((info.written, lines(&area.dir.path().join("out")).len()), (400, 400));
}

#[tokio::test]
async fn complete_mode_replaces_the_whole_set() {
    let area = Area::new();
    let root = area.dir.path().join("out");
    let options =
        FilesOptions { partition_by: vec!["name".into()], ..options(&area, FileFormat::Json) };
    let spec = TargetSpec::Files(options);
    let mut sink = area.open(spec.clone(), OutputMode::Complete, None).await.unwrap();
    fs::write(root.join("of-somebody-else.json"), "").unwrap();
    sink.write(&batch_of(&[(1, "a"), (2, "b")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    let first: Vec<String> = visible(&root).into_keys().collect();
    assert_eq!(
        first,
        ["name=a/shop.out-00000.json", "name=b/shop.out-00000.json", "of-somebody-else.json"]
    );
    sink.write(&batch_of(&[(3, "b"), (4, "c")])).await.unwrap();
    sink.prepare(2).await.unwrap();
    sink.commit(2).await.unwrap();
    let files = visible(&root);
    let second: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        second,
        ["name=b/shop.out-00000.json", "name=c/shop.out-00000.json", "of-somebody-else.json"]
    );
    assert_eq!(lines(&root), ["{\"id\":3}", "{\"id\":4}"]);
    assert!(!root.join("name=a").exists(), "an empty directory would be an empty partition");
    sink.prepare(3).await.unwrap();
    sink.commit(3).await.unwrap();
    assert!(lines(&root).is_empty());
    assert_eq!(visible(&root).len(), 2, "an empty table is a file without rows");
}

#[tokio::test]
async fn a_crash_anywhere_gives_the_rows_of_each_epoch_once() {
    let epochs = vec![vec![(1, "a")], vec![(2, "b"), (3, "c"), (4, "b")], vec![], vec![(5, "d")]];
    let points = STAGED_POINTS.into_iter().chain([
        "files::written",
        "files::renamed",
        "files::named",
        "files::noted",
    ]);
    for point in points {
        for times in [1, 2] {
            for mode in [OutputMode::Append, OutputMode::Complete] {
                // The last two are passed once more only where they were not passed before.
                let passed_once = matches!(point, "files::noted" | "staged::committed");
                let times = if passed_once { 1 } else { times };
                let area = Area::new();
                let options = FilesOptions {
                    partition_by: vec!["name".into()],
                    ..options(&area, FileFormat::Json)
                };
                let spec = || TargetSpec::Files(options.clone());
                killed_at(&area, spec, mode, &epochs, (point, 2, times)).await;
                let expected: &[&str] = match mode {
                    OutputMode::Complete => &["{\"id\":5}"],
                    _ => &["{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}", "{\"id\":5}"],
                };
                let found = lines(&area.dir.path().join("out"));
                assert_eq!(found, expected, "{point} {times} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn another_daemon_and_a_lost_checkpoint_are_refused() {
    let area = Area::new();
    let spec = TargetSpec::Files(options(&area, FileFormat::Json));
    let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    let staged = sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    // Alive beside the first, on a checkpoint of its own.
    let other = Area::with("two");
    let error = other.open(spec.clone(), OutputMode::Append, None).await.err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("holds"), "{error}");
    drop(sink);
    // The first is gone, its checkpoint with it.
    let error = other.open(spec.clone(), OutputMode::Append, None).await.err().unwrap();
    assert!(matches!(error, SinkError::Ahead { .. }), "{error}");
    // A checkpoint older than the files.
    let error = area.open(spec.clone(), OutputMode::Append, Some(0)).await.err().unwrap();
    assert!(matches!(error, SinkError::Ahead { known: Some(0), .. }), "{error}");
    // A copy of the checkpoint, with other rows under the same number.
    let mut sink = area.open(spec.clone(), OutputMode::Append, Some(1)).await.unwrap();
    let copy = super::super::Staged { token: "another".into(), ..staged };
    assert!(sink.recover(1, &copy, false).await.unwrap_err().is_fenced());
    drop(sink);
    // Told to take the files as they are.
    let mut adopting = Area::with("two");
    adopting.context.adopt = true;
    let mut sink = adopting.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(2, "b")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap();
    drop(sink);
    let found = lines(&area.dir.path().join("out"));
    assert_eq!(found, ["{\"id\":1,\"name\":\"a\"}", "{\"id\":2,\"name\":\"b\"}"]);
    // The note moves while a daemon is at work: a file system without locks.
    let mut sink = other.open(spec, OutputMode::Append, Some(1)).await.unwrap();
    fs::remove_file(area.dir.path().join("out/_millpond/shop.out.json")).unwrap();
    sink.write(&batch_of(&[(3, "c")])).await.unwrap();
    sink.prepare(2).await.unwrap();
    assert!(sink.commit(2).await.unwrap_err().is_fenced());
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_with_all_its_problems() {
    let area = Area::new();
    let options = FilesOptions {
        partition_by: vec!["nme".into(), "id".into(), "id".into()],
        compression: FileCompression::Gzip,
        ..options(&area, FileFormat::Parquet(Compression::Snappy))
    };
    let spec = TargetSpec::Files(options);
    let error = area.open(spec, OutputMode::Update, None).await.err().unwrap();
    let text = error.to_string();
    for words in ["update mode", "`nme` is no column", "listed twice", "not compressed again"] {
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_nothing() {
    let area = Area::new();
    let spec = TargetSpec::Files(options(&area, FileFormat::Json));
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    let (root, moved) = (area.dir.path().join("out"), area.dir.path().join("moved"));
    fs::rename(&root, &moved).unwrap();
    fs::write(&root, "in the way").unwrap();
    let error = sink.commit(1).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    fs::remove_file(&root).unwrap();
    fs::rename(&moved, &root).unwrap();
    sink.commit(1).await.unwrap();
    assert_eq!(lines(&root), ["{\"id\":1,\"name\":\"a\"}"]);
}
