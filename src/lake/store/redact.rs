//! Secrets out of the environment do not come out again in an error or a log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

/// Variables whose values are secrets, in upper case.
const SECRET_VARIABLES: &[&str] =
    &["SECRET", "TOKEN", "PASSWORD", "_KEY", "SAS", "CREDENTIALS_JSON"];
/// The names of files and addresses are none, though they contain one of the words.
const PLACES: &[&str] = &["_FILE", "_PATH", "_URL", "_URI", "_HOST", "_ENDPOINT"];

/// Every secret that a store was built with.
static SECRETS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Shorter values would make holes in words that have nothing to do with them.
const SHORTEST: usize = 6;

pub(super) fn remember(environment: &BTreeMap<String, String>) {
    let is_secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        SECRET_VARIABLES.iter().any(|word| name.contains(word))
            && !PLACES.iter().any(|end| name.ends_with(end))
    };
    let secrets: Vec<&String> = environment
        .iter()
        .filter(|(name, value)| is_secret(name) && value.len() >= SHORTEST)
        .map(|(_, value)| value)
        .collect();
    if secrets.is_empty() {
        return;
    }
    // A panic while it was held leaves a set that is whole.
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    known.extend(secrets.into_iter().cloned());
}

/// `text` without the values of secrets that stores were built with. What a store answers is
/// repeated in errors, and some repeat what they were sent.
pub(crate) fn redact(text: &str) -> String {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = text.to_owned();
    for secret in known.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "***");
        }
    }
    text
}
