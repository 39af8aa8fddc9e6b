use std::os::unix::fs::symlink;

use super::super::options::{FileFormat, Framing};
use super::*;

fn options(path: &Path) -> FilesOptions {
    let format = FileFormat::Records(Framing::Lines { skip_blank: true });
    FilesOptions::new(path.to_str().unwrap(), format)
}

fn scanner(options: &FilesOptions) -> Scanner {
    Scanner::new(Target::new(options).unwrap(), options.settle)
}

fn names(scanner: &mut Scanner, root: &Path) -> Vec<String> {
    let found = scanner.scan(Instant::now(), false).unwrap();
    let mut names: Vec<String> = found
        .into_iter()
        .map(|found| found.path.strip_prefix(root).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

fn write(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x\n").unwrap();
    }
}

#[test]
fn a_file_is_found_once_it_has_not_changed_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let mut scanner = scanner(&options(dir.path()));
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    write(dir.path(), &["a.json"]);
    assert_eq!(scanner.scan(at(0), true).unwrap(), []);
    assert_eq!(scanner.scan(at(900), true).unwrap(), []);
    // Written to once more: the wait begins anew.
    fs::write(dir.path().join("a.json"), "x\ny\n").unwrap();
    assert_eq!(scanner.scan(at(1_100), true).unwrap(), []);
    assert_eq!(scanner.unsettled(), 1);
    assert_eq!(scanner.scan(at(2_099), true).unwrap(), []);
    let found = scanner.scan(at(2_100), true).unwrap();
    assert_eq!((found.len(), found[0].size), (1, 4));
    assert_eq!(scanner.scan(at(9_000), true).unwrap(), [], "only once");
    scanner.forget(&dir.path().join("a.json"));
    assert_eq!(scanner.scan(at(9_000), false).unwrap().len(), 1);
}

#[test]
fn hidden_unfinished_and_empty_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[".hidden", "_SUCCESS", "a.json", "b.tmp", "c.json.partial", "d._COPYING_", "e.part"],
    );
    fs::write(dir.path().join("empty.json"), "").unwrap();
    let mut scanner = scanner(&options(dir.path()));
    assert_eq!(names(&mut scanner, dir.path()), ["a.json"]);
    fs::write(dir.path().join("empty.json"), "x").unwrap();
    assert_eq!(names(&mut scanner, dir.path()), ["empty.json"], "not empty any more");
}

#[test]
fn a_directory_is_read_deeply_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a", "sub/b", "sub/deep/c", "_temporary/d", ".git/e", "_year=2024/f"]);
    let mut options = options(dir.path());
    assert_eq!(names(&mut scanner(&options), dir.path()), ["a"]);
    options.recursive = true;
    let found = names(&mut scanner(&options), dir.path());
    assert_eq!(found, ["_year=2024/f", "a", "sub/b", "sub/deep/c"]);
}

#[test]
fn globs_match_whole_paths() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["x/1/a.json", "x/2/b.json", "x/2/c.csv", "x/deep/er/d.json", "y/1/e.json"]);
    let found = |glob: &str| names(&mut scanner(&options(&dir.path().join(glob))), dir.path());
    assert_eq!(found("x/*/*.json"), ["x/1/a.json", "x/2/b.json"]);
    assert_eq!(found("x/**/*.json"), ["x/1/a.json", "x/2/b.json", "x/deep/er/d.json"]);
    assert_eq!(found("{x,y}/[1]/?.json"), ["x/1/a.json", "y/1/e.json"]);
    let error = Target::new(&options(&dir.path().join("x/[a"))).unwrap_err().to_string();
    assert!(error.contains("no glob"), "{error}");
}

#[test]
fn a_name_with_the_characters_of_a_glob_is_a_name_where_it_exists() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["in[1]/a.json", "in1/b.json"]);
    let path = dir.path().join("in[1]");
    assert_eq!(names(&mut scanner(&options(&path)), &path), ["a.json"]);
}

#[test]
fn a_single_file_is_a_source_too() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a.json", "b.json"]);
    assert_eq!(names(&mut scanner(&options(&dir.path().join("a.json"))), dir.path()), ["a.json"]);
}

#[test]
fn links_are_followed_but_not_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["in/a.json", "elsewhere/b.json"]);
    let root = dir.path().join("in");
    symlink(&root, root.join("loop")).unwrap();
    symlink(dir.path().join("elsewhere"), root.join("linked")).unwrap();
    symlink(dir.path().join("nowhere"), root.join("dangling")).unwrap();
    let mut options = options(&root);
    options.recursive = true;
    assert_eq!(names(&mut scanner(&options), &root), ["a.json", "linked/b.json"]);
}

#[test]
fn the_archive_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a.json", "archive/old.json"]);
    let mut options = options(dir.path());
    options.recursive = true;
    options.after = After::Archive(dir.path().join("archive"));
    assert_eq!(names(&mut scanner(&options), dir.path()), ["a.json"]);
    options.after = After::Archive(dir.path().to_owned());
    assert!(Target::new(&options).is_err());
}

#[test]
fn files_that_are_too_old_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a.json"]);
    let mut scanner = scanner(&options(dir.path()));
    let now = mtime_ns(&fs::metadata(dir.path().join("a.json")).unwrap());
    scanner.ignore_before(now + 1);
    assert_eq!(names(&mut scanner, dir.path()), [""; 0]);
}

#[test]
fn a_directory_that_is_gone_is_an_error_that_may_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut scanner = scanner(&options(&dir.path().join("gone")));
    let error = scanner.scan(Instant::now(), true).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("gone"), "{error}");
}
