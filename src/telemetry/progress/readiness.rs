//! Whether a pipeline is fit to work.

use serde::Serialize;

/// One check and, if it fails, what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it passes.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Check {
    /// Passes unless there is a reason why not.
    pub(super) fn unless(reason: Option<String>) -> Self {
        Self { ok: reason.is_none(), reason }
    }
}

/// The checks of one pipeline; it is ready when all of them pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether all checks pass.
    pub ready: bool,
    /// Its actors are up.
    pub running: Check,
    /// Every source has been given its partitions.
    pub assigned: Check,
    /// An epoch has become durable, not too long ago.
    pub checkpointing: Check,
    /// Every sink is open and none is retrying.
    pub sinks_reachable: Check,
}

impl Readiness {
    pub(super) fn new(
        running: Option<String>,
        assigned: Option<String>,
        checkpointing: Option<String>,
        sinks_reachable: Option<String>,
    ) -> Self {
        let mut readiness = Self {
            ready: false,
            running: Check::unless(running),
            assigned: Check::unless(assigned),
            checkpointing: Check::unless(checkpointing),
            sinks_reachable: Check::unless(sinks_reachable),
        };
        readiness.ready = readiness.checks().iter().all(|(_, check)| check.ok);
        readiness
    }

    /// The checks with their names as the metric's label has them.
    pub fn checks(&self) -> [(&'static str, &Check); 4] {
        [
            ("running", &self.running),
            ("assigned", &self.assigned),
            ("checkpointing", &self.checkpointing),
            ("sinks_reachable", &self.sinks_reachable),
        ]
    }
}
