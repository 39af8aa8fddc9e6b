//! A detector with all that stands before it: from batches and watermarks to anomalies.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::state::{Reader, Writer};
use super::{
    Anomaly, Detector, DetectorError, DetectorSpec, DetectorStats, Pushed, SeriesReader, SpecError,
    WindowBuffer, build,
};

/// Values held at most for windows that are not complete: some ten minutes of a million clients
/// are more than a detector has use for, and this is about 100 MB.
const MAX_VALUES: usize = 1_000_000;

/// Name of the runner's bytes.
const KIND: &str = "detector_runner";

/// What became of a batch's rows; for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub pushed: Pushed,
    /// Rows left out: value or window NULL, or the value not finite.
    pub skipped: u64,
}

/// Reader, buffer and detector as one, with one snapshot. No I/O, no clock, no thread.
pub struct DetectorRunner {
    reader: SeriesReader,
    buffer: WindowBuffer,
    detector: Box<dyn Detector>,
}

impl DetectorRunner {
    /// A detector named `name` on tumbling windows of `window_us` microseconds.
    ///
    /// # Errors
    ///
    /// [`SpecError`] if a parameter is out of range or the window has no length.
    pub fn new(
        name: &str,
        spec: &DetectorSpec,
        reader: SeriesReader,
        window_us: i64,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        let buffer = WindowBuffer::new(window_us, spec.combine(), MAX_VALUES)?;
        Ok(DetectorRunner { reader, buffer, detector: build(name, spec) })
    }

    /// Takes in rows of windows that may not be complete.
    ///
    /// # Errors
    ///
    /// [`ArrowError`] if the batch is not of the reader's schema; nothing is taken then.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<Taken, ArrowError> {
        let read = self.reader.read(batch)?;
        Ok(Taken { pushed: self.buffer.push(read.items), skipped: read.skipped })
    }

    /// Judges the windows that end at or before `up_to` (microseconds since the Unix epoch), which
    /// all inputs must have passed: the least of their watermarks. Anomalies come by window, then
    /// by key.
    pub fn advance(&mut self, up_to: i64) -> Vec<Anomaly> {
        let windows = self.buffer.ready(up_to);
        windows.iter().flat_map(|window| self.detector.observe(&window.as_slice())).collect()
    }

    /// Values held for windows that are not complete.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub fn kind(&self) -> &'static str {
        self.detector.kind()
    }

    pub fn stats(&self) -> DetectorStats {
        self.detector.stats()
    }

    /// The detector's state and the rows held, versioned.
    ///
    /// # Errors
    ///
    /// As [`Detector::snapshot`].
    pub fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(KIND);
        out.blob(&self.buffer.snapshot());
        out.blob(&self.detector.snapshot()?);
        Ok(out.finish())
    }

    /// Replaces state and rows by a snapshot. On error all is as it was.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] if the bytes are damaged, or of a detector of another kind or window.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(KIND, bytes)?;
        let (buffered, state) = (input.blob()?, input.blob()?);
        input.finish()?;
        let mut buffer = self.buffer.clone();
        buffer.restore(buffered)?;
        self.detector.restore(state)?;
        self.buffer = buffer;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::super::SeriesColumns;
    use super::*;

    fn batch(window: i64, rows: &[(&str, i64)]) -> RecordBatch {
        let starts = TimestampMicrosecondArray::from(vec![window * 60_000_000; rows.len()]);
        let keys: StringArray = rows.iter().map(|(key, _)| Some(*key)).collect();
        let counts: Int64Array = rows.iter().map(|(_, count)| Some(*count)).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("minute", Arc::new(starts.with_timezone("UTC"))),
            ("endpoint", Arc::new(keys)),
            ("requests", Arc::new(counts)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn runner(kind: &str) -> DetectorRunner {
        let spec = DetectorSpec::from_parameters(kind, &toml::Table::new()).unwrap();
        let columns = SeriesColumns {
            keys: vec!["endpoint".into()],
            value: "requests".into(),
            weight: None,
            window_start: "minute".into(),
        };
        let reader = SeriesReader::new(batch(0, &[]).schema(), &columns).unwrap();
        DetectorRunner::new("spikes", &spec, reader, 60_000_000).unwrap()
    }

    #[test]
    fn batches_become_anomalies_across_a_restart() {
        let mut runner = runner("traffic_spike");
        let mut found = Vec::new();
        for window in 0..20 {
            let count = if window == 18 { 2400 } else { 400 };
            // Two shards, whose rows of a window come before it is complete.
            runner.push(&batch(window, &[("/cart", 300)])).unwrap();
            if window == 18 {
                let bytes = runner.snapshot().unwrap();
                runner = self::runner("traffic_spike");
                runner.restore(&bytes).unwrap();
                assert_eq!(runner.buffered(), 1);
            }
            runner.push(&batch(window, &[("/checkout", count)])).unwrap();
            found.extend(runner.advance((window + 1) * 60_000_000));
        }
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].reason,
            "requests of /checkout 2,400 in the minute, expected 267 to 600"
        );
        assert_eq!((runner.stats().series, runner.buffered()), (2, 0));
    }

    #[test]
    fn a_refused_snapshot_changes_nothing() {
        let mut runner = runner("traffic_spike");
        runner.push(&batch(0, &[("/a", 1)])).unwrap();
        let good = runner.snapshot().unwrap();
        let other = self::runner("ratio_to_mean").snapshot().unwrap();
        assert!(matches!(runner.restore(&other), Err(DetectorError::Kind { .. })));
        assert!(runner.restore(&good[..good.len() - 1]).is_err());
        assert_eq!(runner.snapshot().unwrap(), good);
    }
}
