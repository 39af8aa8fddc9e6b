//! Against the `csv` crate, and against random bytes.

use proptest::prelude::*;

use super::*;

const DIALECT: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None };

fn texts(record: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    split(record, DIALECT, &mut fields).ok()?;
    let mut scratch = Vec::new();
    Some(fields.iter().map(|field| field.text(record, DIALECT, &mut scratch).to_vec()).collect())
}

fn write(rows: &[Vec<String>]) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z,\"\\\\\n\r ']{0,8}", "[0-9]{1,3}", "\\PC{0,6}", Just(String::new())]
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_reads_back(row in prop::collection::vec(field(), 1..6)) {
        let written = write(std::slice::from_ref(&row));
        let read = texts(line(&written)).unwrap();
        let wanted: Vec<Vec<u8>> = row.iter().map(|field| field.clone().into_bytes()).collect();
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn good_records_among_random_bytes(
        noise in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[0-9,\"\\\\\n]{0,20}".prop_map(String::into_bytes),
        ], 1..30),
    ) {
        let schema = "a STRING, n INT NOT NULL, d DECIMAL(6,2), t TIMESTAMP";
        let mut decoder = decoder_with(schema, CsvOptions::default());
        let mut accepted = 0;
        for bytes in &noise {
            append(&mut decoder, "\"a,b\",1,2.5,2026-01-01T00:00:00Z").unwrap();
            let before = decoder.len();
            match decoder.append(&Record::plain(0, bytes)) {
                Ok(()) => accepted += 1,
                Err(_) => prop_assert_eq!(decoder.len(), before),
            }
        }
        let rows = shown(&mut decoder);
        prop_assert_eq!(rows.len(), noise.len() + accepted);
        let good = rows.iter().filter(|r| **r == ["a,b", "1", "2.50", "2026-01-01T00:00:00Z"]);
        prop_assert!(good.count() >= noise.len());
    }
}
