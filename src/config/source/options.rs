//! Options that are passed to librdkafka.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::super::diagnostics::ConfigError;
use super::super::document::{Entry, Node, Origin, Value};
use super::super::kafka_options::{
    CONSUMER, FILES, OTHER_CONSUMERS, OTHER_PRODUCERS, OWNED, OWNED_BY_PRODUCER, PRODUCER, SHARED,
    is_secret_option,
};
use super::super::secret::{OptionValue, Secret};
use super::super::section::Section;
use super::super::suggest;

/// Whose options they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Consumer,
    Producer,
}

impl Client {
    /// What Millpond sets itself.
    fn owned(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::Consumer => OWNED,
            Self::Producer => OWNED_BY_PRODUCER,
        }
    }

    /// The names that librdkafka knows, and which mean something to this client.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let names = match self {
            Self::Consumer => CONSUMER,
            Self::Producer => PRODUCER,
        };
        SHARED.iter().chain(names).copied()
    }

    fn other_names(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Consumer => OTHER_CONSUMERS,
            Self::Producer => OTHER_PRODUCERS,
        }
    }
}

/// The table `options`.
pub(crate) fn options(section: &Section<'_>, client: Client) -> BTreeMap<String, OptionValue> {
    let mut options = BTreeMap::new();
    for (name, entry) in section.dotted() {
        let spark_name = name.strip_prefix("kafka.");
        let bare = spark_name.unwrap_or(&name);
        if let Some((_, reason, instead)) = client.owned().iter().find(|(owned, ..)| *owned == bare)
        {
            let error = ConfigError::new(format!("`{name}` is not an option: {reason}"))
                .expected("options that Millpond does not set itself")
                .help((*instead).to_owned());
            section.report(&name, &entry.key_at, error);
            continue;
        }
        if let Some(bare) = spark_name {
            let error = ConfigError::new(format!("unknown option `{name}`"))
                .expected("a name that librdkafka knows")
                .help(format!("without Spark's prefix: `{bare}`"));
            section.report(&name, &entry.key_at, error);
            continue;
        }
        let Some((value, origin)) = option_text(section, &name, &entry.node) else { continue };
        if origin != Origin::Unresolved {
            check_option(section, client, &name, entry, &value);
        }
        let secret = origin != Origin::Configuration || is_secret_option(&name);
        let value = if secret {
            OptionValue::Secret(Secret::new(value))
        } else {
            OptionValue::Plain(value)
        };
        options.insert(name, value);
    }
    options
}

fn option_text(section: &Section<'_>, name: &str, node: &Node) -> Option<(String, Origin)> {
    match &node.value {
        Value::String(text) => Some((text.value.clone(), text.origin)),
        Value::Integer(number) => Some((number.to_string(), Origin::Configuration)),
        Value::Float(number) => Some((number.to_string(), Origin::Configuration)),
        Value::Boolean(value) => Some((value.to_string(), Origin::Configuration)),
        Value::Array(_) | Value::Datetime(_) | Value::Table(_) => {
            let error = ConfigError::new(format!("{} is not the value of an option", node.kind()))
                .expected("a string, a number, true or false")
                .help("librdkafka's lists are strings with commas: \"a,b\"".to_owned());
            section.report(name, &node.at, error);
            None
        }
    }
}

/// Asks librdkafka whether it takes the option, and the machine whether it has the file.
fn check_option(section: &Section<'_>, client: Client, name: &str, entry: &Entry, value: &str) {
    // Setting this one loads the libraries it names.
    if name == "plugin.library.paths" {
        return;
    }
    let answer = ClientConfig::new().set(name, value).create_native_config();
    if let Err(error) = answer {
        let reason = match error {
            KafkaError::ClientConfig(_, reason, _, _) => reason,
            other => other.to_string(),
        };
        let other = client.other_names().iter().find(|(other, _)| *other == name);
        let help = other.map(|(_, help)| (*help).to_owned());
        if reason.starts_with("No such configuration property") {
            let nearest = || suggest::did_you_mean(name, client.names());
            let error = ConfigError::new(format!("unknown option `{name}`"))
                .expected("a name that librdkafka knows")
                .help(help.or_else(nearest));
            return section.report(name, &entry.key_at, error);
        }
        let interpolated =
            matches!(&entry.node.value, Value::String(text) if text.is_interpolated());
        // librdkafka's reasons quote the value, but for this one.
        let error = if reason.contains("not supported in this build") {
            ConfigError::new(reason.trim())
        } else if interpolated || is_secret_option(name) {
            ConfigError::new(format!("librdkafka refuses the value of `{name}`"))
        } else {
            ConfigError::new(format!("librdkafka refuses `{name}`: {}", reason.trim()))
        };
        let error = error.expected("a value as librdkafka's CONFIGURATION.md has it").help(help);
        return section.report(name, &entry.node.at, error);
    }
    if FILES.contains(&name)
        && section.context.environment.is_real()
        && let Err(error) = std::fs::metadata(value)
    {
        let error = ConfigError::new(format!("the file that `{name}` names: {error}"))
            .expected("the path of a file that this process can read");
        section.report(name, &entry.node.at, error);
    }
}
