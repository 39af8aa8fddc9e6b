//! Envelopes in JSON.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::connect::formats;
use super::{DecimalFormat, Event, Op, no_row, not_an_envelope};
use crate::codec::decoder::json_error;
use crate::codec::json::Formats;
use crate::codec::json::members::members;
use crate::codec::{AppendError, CodecError, JsonDecoder, JsonOptions, RecordError};

/// The rows in JSON envelopes.
///
/// An envelope is walked over first, which finds where its parts stand; then the one row that counts
/// is decoded where it stands. So what is wrong with the other row does no harm.
#[derive(Debug)]
pub(super) struct JsonRows {
    decoder: JsonDecoder,
    max_depth: usize,
    /// What counts without a schema.
    plain: Formats,
    /// The schema that the decoder's formats are from; empty for none.
    schema: Vec<u8>,
}

/// Where the parts of an envelope stand in the payload.
#[derive(Debug, Default)]
struct Parts {
    event: Event,
    before: Option<Range<usize>>,
    after: Option<Range<usize>>,
    source: Option<Range<usize>>,
    schema: Option<Range<usize>>,
    payload: Option<Range<usize>>,
}

impl JsonRows {
    pub fn new(
        row: SchemaRef,
        projection: Vec<usize>,
        options: &JsonOptions,
        decimals: DecimalFormat,
    ) -> Result<Self, CodecError> {
        let plain = Formats {
            timestamp: options.timestamps,
            timestamps: options.timestamps_by_column.clone(),
            zone: options.zone,
            base64_decimals: decimals == DecimalFormat::Base64,
            decimals: HashMap::new(),
        };
        let mut decoder = JsonDecoder::new(row, projection, options.clone())?;
        decoder.set_formats(&plain);
        Ok(Self { decoder, max_depth: options.max_depth, plain, schema: Vec::new() })
    }

    /// Appends the row of an event. `tell` is told about the event before.
    pub fn append(
        &mut self,
        payload: &[u8],
        tell: &mut impl FnMut(Event) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let mut parts = parts(payload, 0..payload.len(), self.max_depth)?;
        let schema = parts.schema.take();
        if let (Some(inner), None) = (parts.payload.take(), parts.event.op) {
            if is_null(payload, &inner) {
                // A tombstone in its schema's envelope.
                return Err(AppendError::NoRow);
            }
            parts = self::parts(payload, inner, self.max_depth)?;
        }
        if let Some(source) = &parts.source
            && payload.get(source.start) == Some(&b'{')
        {
            let text = &payload[source.clone()];
            let mut ts_ms = None;
            members(text, self.max_depth, |key, value| {
                if key == b"ts_ms" {
                    ts_ms = number(&text[value]);
                }
            })
            .map_err(|error| shifted(error, source.start))?;
            parts.event.source_ts_ms = ts_ms;
        }
        let before = parts.event.row_is_before()?;
        let row = if before { parts.before } else { parts.after };
        let row = row.filter(|row| !is_null(payload, row)).ok_or_else(|| no_row(before))?;
        self.follow_schema(schema.map_or(&[][..], |schema| &payload[schema]));
        tell(parts.event)?;
        self.decoder
            .append(&payload[row.clone()])
            .map_err(|error| json_error(shifted(error, row.start)))
    }

    /// Reads columns as the schema says, if it is not the one we know.
    fn follow_schema(&mut self, schema: &[u8]) {
        let schema = if schema == b"null" { &[][..] } else { schema };
        if self.schema != schema {
            self.decoder.set_formats(&formats(schema, &self.plain));
            self.schema = schema.to_vec();
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.decoder.memory_bytes()
    }

    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.decoder.finish()
    }
}

/// The parts of the object that stands in `within`.
fn parts(payload: &[u8], within: Range<usize>, max_depth: usize) -> Result<Parts, RecordError> {
    let (document, start) = (&payload[within.clone()], within.start);
    let mut parts = Parts::default();
    let mut bad_op = false;
    members(document, max_depth, |key, value| {
        let text = &document[value.clone()];
        let place = Some(start + value.start..start + value.end);
        match key {
            b"op" => {
                let op = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
                parts.event.op = op.and_then(Op::parse);
                bad_op = parts.event.op.is_none();
            }
            b"ts_ms" => parts.event.ts_ms = number(text),
            b"before" => parts.before = place,
            b"after" => parts.after = place,
            b"source" => parts.source = place,
            b"schema" => parts.schema = place,
            b"payload" => parts.payload = place,
            _ => {}
        }
    })
    .map_err(|error| shifted(error, start))?;
    match bad_op {
        true => Err(not_an_envelope()),
        false => Ok(parts),
    }
}

fn is_null(payload: &[u8], place: &Range<usize>) -> bool {
    payload.get(place.clone()) == Some(b"null")
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn shifted(mut error: RecordError, by: usize) -> RecordError {
    error.offset += by;
    error
}
