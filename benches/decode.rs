//! How fast web logs become Arrow batches, in user CPU time of one thread.
//!
//! `cargo bench --bench decode [-- --seconds 3]` makes records as the workload's generator does
//! (eight fields, some 286 bytes), decodes them for a while by each way, and prints a table:
//!
//! - the four columns that a windowed query reads, and all eight, by [`JsonDecoder`];
//! - the same eight with a tenth of the records broken;
//! - the same eight where every record has its fields in another order (no guess comes true);
//! - `serde_json` into a struct of borrowed fields and Arrow builders, as a yardstick;
//! - the same rows as CSV and as Avro through [`Decoder`], which readers use, and as
//!   yardsticks `arrow-csv` and `arrow-avro`, which lose the whole batch with one bad record.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{Fingerprint, FingerprintAlgorithm, SchemaStore};
use chrono::DateTime;
use millpond::codec::encode::avro_schema;
use millpond::codec::{
    AvroEncoding, AvroOptions, AvroSchema, AvroWriter, CsvEncoding, CsvOptions, Decoder,
    EncodedRows, Encoder, EncodingSpec, FormatSpec, JsonDecoder, JsonOptions, parse_schema,
};
use millpond::source::Record;

const SCHEMA: &str = "timestamp TIMESTAMP NOT NULL, ip STRING, method STRING, endpoint STRING, \
     status_code INT, response_time_ms DOUBLE, bytes BIGINT, user_agent STRING";
const RECORDS: usize = 200_000;
const BATCH: usize = 8192;

/// Splitmix64 (Steele, Lea and Flood, 2014): the same records in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.below(values.len() as u64) as usize]
    }
}

fn fields(i: usize, random: &mut Random) -> Vec<String> {
    let millis = 1_767_307_200_000 + i as i64 - random.below(30_000) as i64;
    // Within the years that chrono can show.
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    let ip = random.below(20_000);
    let system = random.of(&[
        "X11; Linux x86_64",
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
    ]);
    let noun = random.of(&[
        "orders", "users", "carts", "items", "search", "login", "logout", "prices", "stock",
        "reviews",
    ]);
    vec![
        format!(r#""timestamp":"{}Z""#, time.format("%Y-%m-%dT%H:%M:%S%.3f")),
        format!(r#""ip":"10.{}.{}.{}""#, ip % 251, ip / 251, ip % 13),
        format!(r#""method":"{}""#, random.of(&["GET", "GET", "GET", "POST", "PUT", "DELETE"])),
        format!(r#""endpoint":"/api/v{}/{noun}""#, 1 + random.below(5)),
        format!(
            r#""status_code":{}"#,
            random.of(&["200", "200", "200", "200", "201", "404", "500"])
        ),
        format!(r#""response_time_ms":{}.{}"#, random.below(120), random.below(10)),
        format!(r#""bytes":{}"#, 100 + random.below(49_900)),
        format!(
            r#""user_agent":"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36""#,
            120 + random.below(8)
        ),
    ]
}

fn records(shuffle: bool) -> Vec<Vec<u8>> {
    let mut random = Random(42);
    (0..RECORDS)
        .map(|i| {
            let mut fields = fields(i, &mut random);
            if shuffle {
                for last in (1..fields.len()).rev() {
                    fields.swap(last, random.below(last as u64 + 1) as usize);
                }
            }
            format!("{{{}}}", fields.join(",")).into_bytes()
        })
        .collect()
}

/// A tenth of them with a status code that is none.
fn break_some(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let code = b"\"status_code\":";
    let mut records = records.to_vec();
    for record in records.iter_mut().step_by(10) {
        if let Some(at) = record.windows(code.len()).position(|window| window == code) {
            record[at + code.len()] = b'x';
        }
    }
    records
}

/// User CPU time of this process, in seconds.
fn user_seconds() -> f64 {
    // SAFETY: getrusage fills the struct that it is given, which lives here; any bits are valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    usage.ru_utime.tv_sec as f64 + usage.ru_utime.tv_usec as f64 / 1e6
}

fn measure(name: &str, seconds: f64, records: &[Vec<u8>], mut decode: impl FnMut(&[Vec<u8>])) {
    decode(records); // once, to warm up
    let bytes: usize = records.iter().map(Vec::len).sum();
    let mut best = f64::INFINITY;
    let (start, mut spent, mut runs) = (user_seconds(), 0.0, 0);
    while spent < seconds || runs < 3 {
        let before = user_seconds();
        decode(records);
        let after = user_seconds();
        best = best.min((after - before) / records.len() as f64);
        spent = after - start;
        runs += 1;
    }
    let mean = spent / (runs * records.len()) as f64;
    println!(
        "{name:<44} {:>7.2} M/s  {:>6.1} ns mean  {:>6.1} ns best  {:>5.2} GB/s",
        1e-6 / mean,
        mean * 1e9,
        best * 1e9,
        bytes as f64 / records.len() as f64 / mean / 1e9
    );
}

fn ours(schema: &SchemaRef, projection: &[usize]) -> impl FnMut(&[Vec<u8>]) + use<> {
    let made = JsonDecoder::new(schema.clone(), projection.to_vec(), JsonOptions::default());
    let mut decoder = made.expect("the schema is one that decodes");
    move |records| {
        for batch in records.chunks(BATCH) {
            for record in batch {
                let _ = black_box(decoder.append(record));
            }
            black_box(decoder.finish().expect("the batch is whole"));
        }
    }
}

/// Any format, as a reader decodes it.
fn by_format(
    schema: &SchemaRef,
    projection: &[usize],
    spec: &FormatSpec,
) -> impl FnMut(&[Vec<u8>]) + use<> {
    let made = Decoder::new(schema.clone(), projection.to_vec(), spec, &[]);
    let mut decoder = made.expect("the schema is one that decodes");
    move |records| {
        for batch in records.chunks(BATCH) {
            for record in batch {
                let _ = black_box(decoder.append(&Record::plain(0, record)));
            }
            black_box(decoder.finish().expect("the batch is whole"));
        }
    }
}

/// The same rows in another format.
fn encoded(schema: &SchemaRef, records: &[Vec<u8>], spec: &EncodingSpec) -> Vec<Vec<u8>> {
    let all = (0..schema.fields().len()).collect();
    let mut decoder = JsonDecoder::new(schema.clone(), all, JsonOptions::default())
        .expect("the schema is one that decodes");
    let mut encoder = Encoder::new(schema, spec).expect("the schema is one that encodes");
    let mut rows = Vec::new();
    for batch in records.chunks(BATCH) {
        batch.iter().for_each(|record| drop(decoder.append(record)));
        let batch = decoder.finish().expect("the batch is whole");
        let encoded: EncodedRows = encoder.encode(&batch).expect("the rows can be written");
        rows.extend(encoded.iter().map(<[u8]>::to_vec));
    }
    rows
}

/// `arrow-csv` over whole chunks of lines.
fn with_arrow_csv(schema: &SchemaRef) -> impl FnMut(&[Vec<u8>]) + use<> {
    let schema = schema.clone();
    let mut text = Vec::new();
    move |records| {
        for batch in records.chunks(BATCH) {
            text.clear();
            for record in batch {
                text.extend_from_slice(record);
                text.push(b'\n');
            }
            let mut reader = arrow::csv::ReaderBuilder::new(schema.clone())
                .with_batch_size(BATCH)
                .build_buffered(&text[..])
                .expect("the schema is one that decodes");
            black_box(reader.next());
        }
    }
}

/// `arrow-avro` over data that are framed as in Kafka.
fn with_arrow_avro(text: &str, id: u32) -> impl FnMut(&[Vec<u8>]) + use<> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let schema = arrow_avro::schema::AvroSchema::new(text.to_owned());
    store.set(Fingerprint::Id(id), schema).expect("a valid schema");
    let mut decoder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_batch_size(BATCH)
        .build_decoder()
        .expect("the schema is one that decodes");
    move |records| {
        for batch in records.chunks(BATCH) {
            for record in batch {
                let _ = black_box(decoder.decode(record));
            }
            black_box(decoder.flush().expect("the batch is whole"));
        }
    }
}

#[derive(serde::Deserialize)]
struct WebLog<'a> {
    timestamp: &'a str,
    ip: &'a str,
    method: &'a str,
    endpoint: &'a str,
    status_code: i64,
    response_time_ms: f64,
    bytes: i64,
    user_agent: &'a str,
}

fn with_serde(schema: &SchemaRef, records: &[Vec<u8>]) -> RecordBatch {
    let mut times = TimestampMicrosecondBuilder::new();
    let mut strings: [StringBuilder; 4] = Default::default();
    let (mut codes, mut bytes) = (arrow::array::Int32Builder::new(), Int64Builder::new());
    let mut durations = Float64Builder::new();
    for record in records {
        let Ok(log) = serde_json::from_slice::<WebLog>(record) else { continue };
        let time = DateTime::parse_from_rfc3339(log.timestamp).unwrap_or_default();
        times.append_value(time.timestamp_micros());
        for (builder, value) in
            strings.iter_mut().zip([log.ip, log.method, log.endpoint, log.user_agent])
        {
            builder.append_value(value);
        }
        codes.append_value(log.status_code as i32);
        durations.append_value(log.response_time_ms);
        bytes.append_value(log.bytes);
    }
    let [mut ips, mut methods, mut endpoints, mut agents] = strings;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.finish().with_timezone("UTC")),
        Arc::new(ips.finish()),
        Arc::new(methods.finish()),
        Arc::new(endpoints.finish()),
        Arc::new(codes.finish()),
        Arc::new(durations.finish()),
        Arc::new(bytes.finish()),
        Arc::new(agents.finish()),
    ];
    RecordBatch::try_new(schema.clone(), columns).expect("the columns are those of the schema")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = arguments
        .iter()
        .position(|a| a == "--seconds")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(2.0);
    let schema = parse_schema(SCHEMA).expect("the schema above is valid");
    let (plain, shuffled) = (records(false), records(true));
    let broken = break_some(&plain);
    let mean = plain.iter().map(Vec::len).sum::<usize>() / plain.len();
    println!("web logs of {mean} bytes, batches of {BATCH}, one thread, user CPU time");
    let four = [0, 3, 4, 5];
    let all: Vec<usize> = (0..8).collect();
    measure("4 of 8 columns", seconds, &plain, ours(&schema, &four));
    measure("8 of 8 columns", seconds, &plain, ours(&schema, &all));
    measure("8 of 8 columns, every 10th record broken", seconds, &broken, ours(&schema, &all));
    measure("8 of 8 columns, fields in random order", seconds, &shuffled, ours(&schema, &all));
    measure("serde_json + builders, 8 of 8 columns", seconds, &plain, |records| {
        for batch in records.chunks(BATCH) {
            black_box(with_serde(&schema, batch));
        }
    });
    other_formats(&schema, &plain, seconds);
}

fn other_formats(schema: &SchemaRef, plain: &[Vec<u8>], seconds: f64) {
    let (four, all) = ([0, 3, 4, 5], (0..8).collect::<Vec<_>>());
    let csv = encoded(schema, plain, &EncodingSpec::Csv(CsvEncoding::default()));
    let spec = FormatSpec::Csv(CsvOptions::default());
    measure("CSV, 4 of 8 columns", seconds, &csv, by_format(schema, &four, &spec));
    measure("CSV, 8 of 8 columns", seconds, &csv, by_format(schema, &all, &spec));
    measure("arrow-csv, 8 of 8 columns", seconds, &csv, with_arrow_csv(schema));
    let encoding = AvroEncoding { registry: None, name: "WebLog".to_owned() };
    let avro = encoded(schema, plain, &EncodingSpec::Avro(encoding));
    let text = avro_schema(schema, "WebLog").expect("the schema above has an Avro schema");
    let writer = AvroWriter::Schema {
        schema: Arc::new(AvroSchema::parse(&text).expect("a valid schema")),
        framed: true,
    };
    let framed: Vec<Vec<u8>> =
        avro.iter().map(|datum| [&[0, 0, 0, 0, 7][..], datum].concat()).collect();
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
    measure("Avro, 4 of 8 columns", seconds, &framed, by_format(schema, &four, &spec));
    measure("Avro, 8 of 8 columns", seconds, &framed, by_format(schema, &all, &spec));
    let mut broken = framed.clone();
    broken.iter_mut().step_by(10).for_each(|datum| datum.truncate(datum.len() / 2));
    let name = "Avro, 8 of 8 columns, every 10th cut off";
    measure(name, seconds, &broken, by_format(schema, &all, &spec));
    measure("arrow-avro, 8 of 8 columns", seconds, &framed, with_arrow_avro(&text, 7));
}
