//! Envelopes in Avro.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Event, Op, no_row};
use crate::codec::avro::{
    AvroOptions, AvroSchema, AvroWriter, Envelope, EnvelopeField, Misfit, Plans,
};
use crate::codec::columns::Rows;
use crate::codec::{AppendError, CodecError};

/// The rows in Avro envelopes.
#[derive(Debug)]
pub(super) struct AvroRows {
    rows: Rows,
    options: AvroOptions,
    plans: Plans<Envelope>,
}

impl AvroRows {
    pub fn new(
        row: &SchemaRef,
        projection: &[usize],
        options: &AvroOptions,
    ) -> Result<Self, CodecError> {
        let rows = Rows::new(row.project(projection)?.into())?;
        let mut plans = Plans::default();
        if let AvroWriter::Schema { schema, .. } = &options.writer {
            let plan = envelope(Arc::clone(schema), &rows, options);
            plans.only(plan.map_err(Misfit::into_codec_error)?);
        }
        Ok(Self { rows, options: options.clone(), plans })
    }

    /// Appends the row of an event. `tell` is told about the event before.
    pub fn append(
        &mut self,
        payload: &[u8],
        tell: &mut impl FnMut(Event) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let Self { rows, options, plans } = self;
        let (envelope, start) =
            plans.of(payload, &options.writer, |schema| self::envelope(schema, rows, options))?;
        let mut event = Event::default();
        let (mut before, mut after) = (None, None);
        envelope.walk(payload, start, |field| match field {
            EnvelopeField::Text("op", text) => event.op = Op::parse(text),
            EnvelopeField::Long("ts_ms", millis) => event.ts_ms = Some(millis),
            EnvelopeField::Long("source.ts_ms", millis) => event.source_ts_ms = Some(millis),
            EnvelopeField::Row("before", row) => before = Some(row),
            EnvelopeField::Row("after", row) => after = Some(row),
            _ => {}
        })?;
        let is_before = event.row_is_before()?;
        let row = if is_before { before } else { after };
        let row = row.ok_or_else(|| no_row(is_before))?;
        tell(event)?;
        rows.append(|columns, _| envelope.read_row(payload, row, columns))
    }

    pub fn memory_bytes(&self) -> usize {
        self.rows.bytes()
    }

    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.rows.finish()
    }
}

fn envelope(
    schema: Arc<AvroSchema>,
    rows: &Rows,
    options: &AvroOptions,
) -> Result<Envelope, Misfit> {
    let defaults = options.defaults.as_deref();
    match Envelope::new(schema, defaults, rows.columns()) {
        Some(envelope) => envelope,
        None => Err(Misfit {
            path: "".into(),
            problem: "it is not a Debezium envelope: it has no record \"after\"".to_owned(),
        }),
    }
}
