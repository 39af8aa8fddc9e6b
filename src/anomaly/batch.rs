//! Anomalies as rows of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{Anomaly, DetectorError};

/// One row an anomaly, no column nullable:
///
/// | column | type | |
/// |---|---|---|
/// | `detector` | string | the detector's name in the configuration |
/// | `kind` | string | such as `traffic_spike` |
/// | `key` | string | the series; empty if the query has no key |
/// | `window_start`, `window_end` | timestamp (us, UTC) | the window, end exclusive |
/// | `value`, `expected`, `lower`, `upper` | double | in the unit of the value |
/// | `score` | double | above 0.5, at most 1; 0.5 is the edge of the band |
/// | `severity` | string | `info`, `warning` or `critical` |
/// | `reason` | string | why, in words |
pub fn anomaly_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type: &DataType| Field::new(name, data_type.clone(), false);
    Arc::new(Schema::new(vec![
        field("detector", &DataType::Utf8),
        field("kind", &DataType::Utf8),
        field("key", &DataType::Utf8),
        field("window_start", &time),
        field("window_end", &time),
        field("value", &DataType::Float64),
        field("expected", &DataType::Float64),
        field("lower", &DataType::Float64),
        field("upper", &DataType::Float64),
        field("score", &DataType::Float64),
        field("severity", &DataType::Utf8),
        field("reason", &DataType::Utf8),
    ]))
}

/// The rows of [`anomaly_schema`], in the order given.
///
/// # Errors
///
/// [`DetectorError::Batch`] if Arrow refuses the columns.
pub fn to_batch(anomalies: &[Anomaly]) -> Result<RecordBatch, DetectorError> {
    fn text<'a>(of: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(of))
    }
    fn number(of: impl Iterator<Item = f64>) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(of))
    }
    fn time(of: impl Iterator<Item = i64>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(of).with_timezone("UTC"))
    }
    let all = || anomalies.iter();
    let columns = vec![
        text(all().map(|a| &*a.detector)),
        text(all().map(|a| a.kind)),
        text(all().map(|a| &*a.key)),
        time(all().map(|a| a.window_start)),
        time(all().map(|a| a.window_end)),
        number(all().map(|a| a.value)),
        number(all().map(|a| a.expected)),
        number(all().map(|a| a.lower)),
        number(all().map(|a| a.upper)),
        number(all().map(|a| a.score)),
        text(all().map(|a| a.severity.as_str())),
        text(all().map(|a| a.reason.as_str())),
    ];
    Ok(RecordBatch::try_new(anomaly_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn anomalies_become_rows() {
        let anomaly = Anomaly {
            detector: "spikes".into(),
            kind: "traffic_spike",
            key: "/a".into(),
            window_start: 60_000_000,
            window_end: 120_000_000,
            value: 2400.0,
            expected: 430.0,
            lower: 300.0,
            upper: 600.0,
            score: 0.9,
            severity: Severity::Critical,
            reason: "why".into(),
        };
        let batch = to_batch(&[anomaly.clone(), anomaly]).unwrap();
        assert_eq!(batch.schema(), anomaly_schema());
        assert_eq!(batch.num_rows(), 2);
        let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        assert!(shown.contains("1970-01-01T00:01:00Z"), "{shown}");
        assert!(shown.contains("critical"), "{shown}");
        assert_eq!(to_batch(&[]).unwrap().num_rows(), 0);
    }
}
