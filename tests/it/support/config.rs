//! The pipeline that most tests run.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::events::SCHEMA;
use super::millis;

/// A configuration: every event to a table, three windowed queries, a detector, dead letters.
#[derive(Clone)]
pub struct Pipeline {
    /// Where the configuration and, in `data`, the tables and checkpoints are.
    pub dir: PathBuf,
    /// Bootstrap servers.
    pub brokers: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Time between epochs.
    pub interval: Duration,
    /// Shards of the windowed queries.
    pub shards: usize,
    /// Only the queries that keep no state.
    pub stateless: bool,
    /// Lines of TOML after the source's options.
    pub source_options: String,
    /// TOML at the end.
    pub more: String,
    /// Bytes between the readers and the operators.
    pub in_flight: String,
    /// After how long a partition without records is left out of the watermark.
    pub idle_timeout: String,
    /// Where tables and checkpoints are; `dir/data` by default.
    pub data: PathBuf,
    /// Where the checkpoint is, if not below `data`.
    pub checkpoint: Option<PathBuf>,
    /// The address below which all tables are, if not `data`.
    pub tables: Option<String>,
    /// What other readers have to know of the tables' object store.
    pub storage: Vec<(String, String)>,
}

impl Pipeline {
    /// With half a second between epochs and two shards.
    pub fn new(dir: &Path, brokers: &str, topic: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            brokers: brokers.to_owned(),
            topics: vec![topic.to_owned()],
            interval: millis(500),
            shards: 2,
            stateless: false,
            source_options: String::new(),
            more: String::new(),
            in_flight: "32MiB".to_owned(),
            idle_timeout: "never".to_owned(),
            data: dir.join("data"),
            checkpoint: None,
            tables: None,
            storage: Vec::new(),
        }
    }

    /// The directory of a table.
    pub fn table(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// The directory or the address below which all tables are.
    pub fn tables_at(&self) -> PathBuf {
        self.tables.as_ref().map_or_else(|| self.data.clone(), PathBuf::from)
    }

    /// Writes the file and returns its path.
    pub fn write(&self) -> PathBuf {
        self.write_as("millpond.toml")
    }

    /// Writes the file under a name of its own.
    pub fn write_as(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(&self.dir).expect("the test's directory");
        fs::write(&path, self.text()).expect("the configuration is written");
        path
    }

    fn text(&self) -> String {
        let Self { brokers, shards, source_options, in_flight, idle_timeout, .. } = self;
        let topic = self.topics.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", ");
        let (data, interval) = (self.data.display(), self.interval.as_millis());
        let checkpoint = match &self.checkpoint {
            Some(directory) => format!("directory = \"{}\"", directory.display()),
            None => String::new(),
        };
        let mut text = format!(
            r#"
name = "it"
data_dir = "{data}"
shards = {shards}

[memory]
in_flight = "{in_flight}"

[checkpoint]
interval = "{interval}ms"
{checkpoint}

[restart]
initial_backoff = "100ms"
max_backoff = "1s"

[server]
listen = "127.0.0.1:0"

[sources.events]
type = "kafka"
brokers = "{brokers}"
topics = [{topic}]
schema = "{SCHEMA}"

[sources.events.watermark]
column = "timestamp"
delay = "20s"
idle_timeout = "{idle_timeout}"

[sources.events.options]
# A daemon that was killed leaves the group after this; the broker waits for it.
"session.timeout.ms" = 1000
"heartbeat.interval.ms" = 250
"topic.metadata.refresh.interval.ms" = 1000
"reconnect.backoff.max.ms" = 500
{source_options}

[queries.bronze]
sql = '''
SELECT *, CAST(timestamp AS DATE) AS date, hour(timestamp) AS hour FROM events
'''

[queries.bronze.sink]
type = "delta"
path = "${{data_dir}}/bronze"
partition_by = ["date", "hour"]
"#
        );
        if !self.stateless {
            text.push_str(WINDOWS);
        }
        writeln!(text, "{}", self.more).expect("writing to memory");
        let Some(tables) = &self.tables else { return text };
        let mut text = text.replace("${data_dir}/", &format!("{tables}/"));
        let letters = format!("[dead_letters]\npath = \"{tables}/dead_letters\"\n");
        text.push_str(&letters);
        if !self.stateless {
            let anomalies =
                format!("\n[detectors.ratio_to_mean.sink]\npath = \"{tables}/anomalies\"\n");
            text.push_str(&anomalies);
        }
        text
    }
}

const WINDOWS: &str = r#"
[queries.endpoint_minutes]
sql = '''
SELECT window.start AS window_start, window.end AS window_end, endpoint,
       count(*) AS requests,
       count(*) FILTER (WHERE status_code >= 500) AS errors,
       avg(response_time) AS avg_rt, min(response_time) AS min_rt, max(response_time) AS max_rt,
       sum(bytes) AS bytes, count(DISTINCT ip) AS visitors
FROM events
GROUP BY window(timestamp, '1 minute'), endpoint
'''
[queries.endpoint_minutes.sink]
type = "delta"
path = "${data_dir}/endpoint_minutes"

[queries.traffic_seconds]
sql = '''
SELECT window.start AS window_start, window.end AS window_end,
       count(*) AS requests, sum(bytes) AS bytes, avg(response_time) AS avg_rt
FROM events
GROUP BY window(timestamp, '10 seconds')
'''
[queries.traffic_seconds.sink]
type = "delta"
path = "${data_dir}/traffic_seconds"

[queries.client_minutes]
sql = '''
SELECT window.start AS window_start, ip, count(*) AS requests,
       count(DISTINCT endpoint) AS endpoints, max(bytes) AS max_bytes
FROM events
WHERE status_code < 500
GROUP BY window(timestamp, '1 minute'), ip
HAVING count(*) > 1
'''
[queries.client_minutes.sink]
type = "delta"
path = "${data_dir}/client_minutes"

[detectors.ratio_to_mean]
kind = "ratio_to_mean"
query = "traffic_seconds"
value = "requests"
ratio = 3.0
"#;
