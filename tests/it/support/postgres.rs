//! A PostgreSQL server as a process: a cluster of its own for each test, from Debian's packages.
//!
//! Stands on nothing but the standard library and libc, so that unit tests can include it by path.

#![allow(dead_code, reason = "not every test that includes this needs all of it")]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The only user of the cluster.
const USER: &str = "millpond";

/// A running server. Stopped when dropped, without writing anything more.
pub struct Postgres {
    child: Option<Child>,
    dir: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes a cluster below `dir` and starts a server on it. `settings` are added to its
    /// configuration, `name = value` each.
    pub fn start(dir: &Path, settings: &[&str]) -> Self {
        let bin = binaries();
        // A server does not run as root; whoever it runs as has to get to its directory.
        let base = dir.join("postgres");
        fs::create_dir_all(&base).expect("a directory for the cluster");
        let mut above = Some(dir);
        while let Some(dir) = above.filter(|dir| dir.starts_with(std::env::temp_dir())) {
            // Directories that others own already let everybody through.
            if let Ok(metadata) = fs::metadata(dir) {
                let mode = metadata.permissions().mode() | 0o011;
                let _ = fs::set_permissions(dir, fs::Permissions::from_mode(mode));
            }
            above = dir.parent();
        }
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&base), "chown");
        }
        let data = base.join("data");
        run(
            as_server(&bin.join("initdb"))
                .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
                .arg(format!("--username={USER}"))
                .arg("--pgdata")
                .arg(&data)
                .current_dir("/"),
            "initdb",
        );
        let port = free_port();
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             shared_buffers = 16MB\nmax_connections = 20\n"
        );
        for setting in settings {
            lines.push_str(setting);
            lines.push('\n');
        }
        append(&data.join("postgresql.conf"), &lines);
        let mut server = Self { child: None, dir: base, port };
        server.up();
        server
    }

    /// Starts the server again after [`Postgres::kill`].
    pub fn up(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("the server's log");
        let child = as_server(&binaries().join("postgres"))
            .arg("-D")
            .arg(self.data())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
        let began = Instant::now();
        // A server that listens may still be recovering, and says so when asked.
        while !self.answers() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "the server does not answer: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server where it stands; what it had acknowledged is there when it is up again.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT: "immediate shutdown", which is a crash that takes the children along.
            // SAFETY: kill takes any numbers; the child has not been waited for.
            unsafe { libc::kill(child.id() as i32, libc::SIGQUIT) };
            let _ = child.wait();
        }
    }

    /// How clients reach it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The cluster's directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What a query gives: a line for each row, columns divided by `|`, NULL as `NULL`.
    pub fn query(&self, sql: &str) -> String {
        let output = self.psql(sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("psql speaks UTF-8").trim_end().to_owned()
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    fn answers(&self) -> bool {
        TcpStream::connect_timeout(&([127, 0, 0, 1], self.port).into(), Duration::from_millis(200))
            .is_ok()
            && self.psql("SELECT 1").status.success()
    }

    fn psql(&self, sql: &str) -> Output {
        Command::new(binaries().join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--pset=null=NULL"])
            .args(["--set=ON_ERROR_STOP=1", "--command", sql, &self.url()])
            .stdin(Stdio::null())
            .output()
            .expect("psql runs")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of the loopback interface that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn append(path: &Path, lines: &str) {
    use std::io::Write;
    let mut file = File::options().append(true).open(path).expect("the server's configuration");
    file.write_all(lines.as_bytes()).expect("the server's configuration");
}

fn is_root() -> bool {
    // SAFETY: geteuid cannot fail and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

/// A command as the user that may run a server. It dies with the test, whatever becomes of that.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// Where Debian keeps the newest PostgreSQL of the machine. Installs one if there is none; fails if
/// that cannot be done.
fn binaries() -> PathBuf {
    if let Some(found) = installed() {
        return found;
    }
    // One of the tests that run at the same time does it, the others wait.
    let lock = File::create(std::env::temp_dir().join("millpond-tests-postgres.lock"));
    let lock = lock.expect("a lock file");
    // SAFETY: the descriptor is open; flock touches nothing else. Closing the file unlocks it.
    let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "locking: {}", std::io::Error::last_os_error());
    if installed().is_none() {
        run(Command::new("apt-get").args(["update", "-qq"]), "apt-get update");
        run(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends", "postgresql"])
                .env("DEBIAN_FRONTEND", "noninteractive"),
            "apt-get install postgresql",
        );
    }
    installed().expect("PostgreSQL below /usr/lib/postgresql")
}

fn installed() -> Option<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            ["initdb", "postgres", "psql"]
                .iter()
                .all(|name| bin.join(name).exists())
                .then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
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
