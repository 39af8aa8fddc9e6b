use std::sync::Arc;

use super::*;

fn entry(path: &Path) -> Entry {
    let metadata = fs::metadata(path).unwrap();
    Entry {
        seq: 0,
        path: Arc::new(path.to_owned()),
        size: metadata.size(),
        mtime_ns: mtime_ns(&metadata),
    }
}

#[test]
fn a_file_is_deleted_unless_it_is_another_one_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "one").unwrap();
    let read = entry(&path);
    fs::write(&path, "another").unwrap();
    assert_eq!(clean(&read, dir.path(), &After::Delete).unwrap(), Cleaned::Changed);
    assert!(path.exists());
    assert_eq!(clean(&entry(&path), dir.path(), &After::Delete).unwrap(), Cleaned::Gone);
    assert!(!path.exists());
    assert_eq!(clean(&read, dir.path(), &After::Delete).unwrap(), Cleaned::Gone, "twice is fine");
}

#[test]
fn an_archive_keeps_the_path_beneath_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (root, archive) = (dir.path().join("in"), dir.path().join("old"));
    let after = After::Archive(archive.clone());
    fs::create_dir_all(root.join("x")).unwrap();
    for round in 0..3 {
        let path = root.join("x/a.json.gz");
        fs::write(&path, format!("{round}")).unwrap();
        assert_eq!(clean(&entry(&path), &root, &after).unwrap(), Cleaned::Gone);
        assert!(!path.exists());
    }
    for (name, content) in [("a.json.gz", "0"), ("a-1.json.gz", "1"), ("a-2.json.gz", "2")] {
        assert_eq!(fs::read_to_string(archive.join("x").join(name)).unwrap(), content);
    }
}

#[test]
fn a_single_file_goes_into_the_archive_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("only.json");
    fs::write(&path, "x").unwrap();
    let after = After::Archive(dir.path().join("old"));
    clean(&entry(&path), &path, &after).unwrap();
    assert!(dir.path().join("old/only.json").exists());
}
