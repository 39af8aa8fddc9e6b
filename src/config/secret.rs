//! A string that is used but never shown.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is printed in place of a secret.
pub(crate) const MASK: &str = "***";

/// A value that must not reach a log, an error, a metric or a response.
///
/// `Debug`, `Display` and `Serialize` all give `***`, whatever the value and its length;
/// [`Secret::expose`] is the only way to the text, so that its uses can be searched for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The text itself, for the library that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// The value of a pass-through option: shown as it is, or never.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// Written in the file, under a name that holds no secret.
    Plain(String),
    /// Came from the environment or a file, or its name says that it is one.
    Secret(Secret),
}

impl OptionValue {
    /// The text itself, secret or not.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(value) => value,
            Self::Secret(secret) => secret.expose(),
        }
    }

    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => fmt::Debug::fmt(value, f),
            Self::Secret(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => f.write_str(value),
            Self::Secret(secret) => fmt::Display::fmt(secret, f),
        }
    }
}

/// Whether a pass-through option of this name may hold a secret (`sasl.password`,
/// `ssl.key.pem`, `sasl.oauthbearer.client.secret`): judged by the name alone, and rather
/// too often than too seldom.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "passphrase", "secret", "token", "key", "credential"]
        .iter()
        .any(|word| name.contains(word))
        || name.ends_with("sasl.jaas.config")
}
