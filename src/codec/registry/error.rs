//! What can go wrong with a schema registry.

/// An error of the schema registry. Cheap to clone: one failure is told to every partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// None of the registry's addresses answered in time, or all that answered were in trouble
    /// themselves (5xx, 429).
    #[error("{url} did not answer: {reason}")]
    Unavailable { url: String, reason: String },
    /// The registry wants other credentials.
    #[error("{url} refused access (HTTP {status}): {reason}")]
    Denied { url: String, status: u16, reason: String },
    /// The registry does not have it.
    #[error("{what} is not known to the registry")]
    NotFound { what: String },
    /// The registry does not take the schema: not a schema, or not compatible with the one before.
    #[error("{what} was refused (HTTP {status}): {reason}")]
    Refused { what: String, status: u16, reason: String },
    /// Something answered that is not a schema registry.
    #[error("{url} gave an answer that is not one of a schema registry: {reason}")]
    Answer { url: String, reason: String },
    /// The options cannot work.
    #[error("{0}")]
    Options(String),
}

impl RegistryError {
    /// Whether the same question may be answered later without anyone changing the configuration.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Answer { .. })
    }

    /// A fixed name for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "registry_unavailable",
            Self::Denied { .. } => "registry_denied",
            Self::NotFound { .. } => "registry_not_found",
            Self::Refused { .. } => "registry_refused",
            Self::Answer { .. } => "registry_answer",
            Self::Options(_) => "registry_options",
        }
    }
}
