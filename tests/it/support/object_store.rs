//! Object stores as processes: moto for S3, Azurite for Azure. For Google's there is none to be had
//! that speaks the XML API of its client; moto does, but for the name of a header, which
//! [`Faults`](super::faults::Faults) changes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::broker::free_port;
use super::{die_with_us, python, secs, wait_until};

/// A bucket, or a container.
pub const BUCKET: &str = "lake";
/// What must never be seen anywhere.
pub const SECRET: &str = "test-secret-d41d8cd98f00b204";
const KEY: &str = "test-key-id";
/// The account of the emulator, which everybody knows.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
pub const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                             K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server with one empty bucket. Killed when dropped.
pub struct Store {
    child: Child,
    address: SocketAddr,
}

impl Store {
    /// S3, with its data in memory; its log goes to `dir`.
    pub fn s3(dir: &Path) -> Self {
        let port = free_port();
        let python = python::environment_with_stores().join("bin/python");
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let store = Self::start(&mut command, dir, port);
        wait_until("the bucket to be made", secs(30), || {
            request(store.address, "PUT", &format!("/{BUCKET}"), "").is_ok_and(|s| s == 200)
        });
        store
    }

    /// Azure's Blob Storage, with its data in memory; its log goes to `dir`.
    pub fn azure(dir: &Path) -> Self {
        let port = free_port();
        let (node, azurite) = python::azurite();
        let mut command = Command::new(node);
        command
            .arg(azurite)
            .args(["--silent", "--skipApiVersionCheck", "--inMemoryPersistence"])
            .args(["--disableTelemetry", "--blobHost", "127.0.0.1"])
            .args(["--blobPort", &port.to_string()])
            .current_dir(dir);
        let store = Self::start(&mut command, dir, port);
        wait_until("the server to listen", secs(30), || TcpStream::connect(store.address).is_ok());
        let made = python::script(
            "azure_container.py",
            &json!({
                "endpoint": format!("http://{}/{AZURE_ACCOUNT}", store.address),
                "account": AZURE_ACCOUNT,
                "key": AZURE_KEY,
                "container": BUCKET,
            }),
        );
        assert_eq!(made, 201, "making a container");
        store
    }

    /// The environment with which a daemon finds Azure's store.
    pub fn azure_environment(endpoint: SocketAddr) -> Vec<(String, String)> {
        [
            ("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
            ("AZURE_STORAGE_ENDPOINT", &format!("http://{endpoint}/{AZURE_ACCOUNT}")),
            ("AZURE_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The environment with which a daemon finds Google's store: the path of a file of
    /// credentials, which this writes.
    pub fn google_environment(dir: &Path, endpoint: SocketAddr) -> Vec<(String, String)> {
        let file = dir.join("service-account.json");
        let account = json!({
            "gcs_base_url": format!("http://{endpoint}"),
            "disable_oauth": true,
            "client_email": "",
            "private_key": SECRET,
            "private_key_id": "",
        });
        std::fs::write(&file, account.to_string()).expect("a file of credentials");
        vec![("GOOGLE_SERVICE_ACCOUNT".to_owned(), file.to_string_lossy().into_owned())]
    }

    fn start(command: &mut Command, dir: &Path, port: u16) -> Self {
        let log = File::create(dir.join("store.log")).expect("the store's log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the store's log")).stderr(log);
        let child = die_with_us(command).spawn().expect("the store starts");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The environment with which a daemon finds S3 at `endpoint`.
    pub fn s3_environment(endpoint: SocketAddr) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &format!("http://{endpoint}")),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment as [`Daemon`](super::daemon::Daemon) takes it.
pub fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The status of the answer to a request.
pub fn request(address: SocketAddr, method: &str, path: &str, more: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
         Connection: close\r\n{more}\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no status in {head:?}")))
}
