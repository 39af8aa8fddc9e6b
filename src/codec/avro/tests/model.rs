//! Against what `arrow-avro` writes, and against random bytes.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_avro::schema::{FingerprintStrategy, SCHEMA_METADATA_KEY};
use arrow_avro::writer::{WriterBuilder, format::AvroSoeFormat};
use proptest::prelude::*;
use std::collections::HashMap;

use super::*;
use crate::codec::encode::avro_schema;
use crate::codec::testing::{batches, declared};

/// The rows of a batch as `arrow-avro` writes them, which shares no code with us.
fn written(batch: &RecordBatch) -> (String, Vec<Vec<u8>>) {
    let text = avro_schema(batch.schema_ref(), "test.Row").unwrap();
    let metadata = HashMap::from([(SCHEMA_METADATA_KEY.to_owned(), text.clone())]);
    let schema = Schema::new_with_metadata(batch.schema().fields().clone(), metadata);
    let mut encoder = WriterBuilder::new(schema.clone())
        .with_fingerprint_strategy(FingerprintStrategy::Id(0))
        .build_encoder::<AvroSoeFormat>()
        .unwrap();
    let batch = batch.clone().with_schema(Arc::new(schema)).unwrap();
    encoder.encode(&batch).unwrap();
    let rows = encoder.flush();
    (text, rows.iter().map(|row| row[5..].to_vec()).collect())
}

fn decoder_of(text: &str, batch: &RecordBatch) -> Decoder {
    let writer =
        AvroWriter::Schema { schema: Arc::new(AvroSchema::parse(text).unwrap()), framed: false };
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
    let all = (0..batch.num_columns()).collect();
    Decoder::new(batch.schema(), all, &spec, &[]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_arrow_avro_writes_reads_back(batch in batches()) {
        let (text, rows) = written(&batch);
        let mut decoder = decoder_of(&text, &batch);
        for row in &rows {
            append(&mut decoder, row).unwrap();
        }
        prop_assert_eq!(decoder.finish().unwrap(), batch);
    }

    #[test]
    fn damage_to_one_record_is_its_own(
        batch in batches(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..20),
    ) {
        prop_assume!(batch.num_rows() > 0);
        let (text, rows) = written(&batch);
        let mut decoder = decoder_of(&text, &batch);
        let (mut good, mut at) = (Vec::new(), 0);
        for (index, (place, byte, cut)) in damage.iter().enumerate() {
            let row = &rows[index % rows.len()];
            append(&mut decoder, row).unwrap();
            good.push((at, index % rows.len()));
            at += 1;
            let mut broken = row.clone();
            if !broken.is_empty() {
                let place = place.index(broken.len());
                if *cut { broken.truncate(place) } else { broken[place] = *byte }
            }
            if append(&mut decoder, &broken).is_ok() {
                at += 1;
            }
            prop_assert_eq!(decoder.len(), at);
        }
        let got = decoder.finish().unwrap();
        for (row, of) in good {
            prop_assert_eq!(got.slice(row, 1), batch.slice(of, 1));
        }
    }

    #[test]
    fn random_bytes_break_nothing(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = declared();
        let text = avro_schema(&schema, "R").unwrap();
        let batch = RecordBatch::new_empty(schema);
        let mut decoder = decoder_of(&text, &batch);
        let accepted = append(&mut decoder, &noise).is_ok();
        prop_assert_eq!(decoder.finish().unwrap().num_rows(), usize::from(accepted));
        // Nothing of it is read.
        let schema = Arc::new(AvroSchema::parse(&text).unwrap());
        let writer = AvroWriter::Schema { schema, framed: false };
        let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
        let mut none = Decoder::new(declared(), vec![], &spec, &[]).unwrap();
        // Of what nobody reads the structure is checked, not the values.
        let skipped = append(&mut none, &noise).is_ok();
        prop_assert!(skipped || !accepted);
    }

    #[test]
    fn random_text_is_no_schema(text in "[\\[\\]{}\":, a-z0-9]{0,60}") {
        let _ = AvroSchema::parse(&text);
    }
}
