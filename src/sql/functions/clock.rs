//! `current_timestamp()`: the wall clock, read once for each batch.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::calendar::split;
use crate::event_time::wall_now_us;
use crate::sql::registry::timestamp_type;

/// The time of the batch at hand, in microseconds; shared by all expressions of one bound query,
/// so that every row and every mention in a batch agree.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchClock(Arc<AtomicI64>);

impl BatchClock {
    /// Takes the wall clock's time for the batch that comes next.
    pub(crate) fn tick(&self) {
        // Relaxed: one thread evaluates a bound query; nothing else is ordered by it.
        self.0.store(wall_now_us(), Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `current_timestamp()` and `current_date()`. In a plan it has no clock; binding gives it one.
#[derive(Debug, Clone)]
pub(crate) struct CurrentTime {
    date: bool,
    aliases: Vec<String>,
    signature: Signature,
    clock: BatchClock,
}

pub(super) fn functions() -> Vec<CurrentTime> {
    let function = |date, aliases: &[&str]| CurrentTime {
        date,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        // Volatile, or the planner would replace it by the time of planning.
        signature: Signature::nullary(Volatility::Volatile),
        clock: BatchClock::default(),
    };
    vec![function(false, &["now", "localtimestamp"]), function(true, &["curdate", "today"])]
}

impl CurrentTime {
    /// The same function on the given clock.
    pub(crate) fn with_clock(&self, clock: &BatchClock) -> Self {
        Self { clock: clock.clone(), ..self.clone() }
    }

    /// Its value at a time, in microseconds.
    pub(crate) fn at(&self, now: i64) -> ScalarValue {
        if self.date {
            ScalarValue::Date32(i32::try_from(split(now).0).ok())
        } else {
            ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into()))
        }
    }
}

impl PartialEq for CurrentTime {
    fn eq(&self, other: &Self) -> bool {
        self.date == other.date
    }
}

impl Eq for CurrentTime {}

impl Hash for CurrentTime {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.date.hash(state);
    }
}

impl ScalarUDFImpl for CurrentTime {
    fn name(&self) -> &str {
        if self.date { "current_date" } else { "current_timestamp" }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.date { DataType::Date32 } else { timestamp_type() })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.at(self.clock.now())))
    }
}
