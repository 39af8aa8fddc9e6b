//! `[storage]` and `storage` of a table: what they take, and that they take no secrets.

use super::super::SourceKind;
use super::{delta, no_variables, over_base, rejects, variables};

#[test]
fn options_of_a_table_lie_over_those_of_all() {
    let case = r#"
[storage]
endpoint = "http://localhost:9000"
allow_http = true
region = "eu-central-1"
azure_account_name = "lake"

[dead_letters]
path = "abfss://box@lake.dfs.core.windows.net/dead_letters"

[sources.copies]
type = "delta"
path = "s3://lake/copies"
storage = { region = "us-west-2" }

[queries.bronze.sink]
path = "s3://lake/bronze"
storage = { path_style = true, connect_timeout = "2s" }

[queries.local]
sql = "SELECT * FROM copies"
sink = { type = "delta", path = "./data/local" }
"#;
    let settings = over_base(case, &no_variables()).unwrap();
    let bronze = &delta(&settings, 0).storage;
    assert_eq!(bronze["region"], "eu-central-1");
    assert_eq!(bronze["path_style"], "true");
    assert_eq!(bronze["connect_timeout"], "2s");
    assert_eq!(settings.dead_letters.storage["azure_account_name"], "lake");
    let copies = settings.sources.iter().find(|source| source.name == "copies").unwrap();
    let SourceKind::Delta(copies) = &copies.kind else { panic!("{:?}", copies.kind) };
    assert_eq!(copies.storage["region"], "us-west-2");
    assert_eq!(copies.storage["endpoint"], "http://localhost:9000");
    let local = settings.queries.iter().position(|query| query.name == "local").unwrap();
    assert!(delta(&settings, local).storage.is_empty(), "a local table has no use for them");
}

#[test]
fn secrets_are_refused_and_not_shown() {
    let case = r#"
[storage]
secret_access_key = "wJalrXUtnFEMI"
aws_access_key_id = "AKIAIOSFODNN7EXAMPLE"
account_key = "Zm9vYmFy"
sas_token = "${SAS}"
google_service_account_key = '{"private_key": "xyzzy"}'
region = "AKIAIOSFODNN7EXAMPLE"
proxy_url = "http://me:xyzzy@proxy:3128"
"#;
    let errors = over_base(case, &variables(&[("SAS", "sv=2024&sig=xyzzy")])).unwrap_err();
    let report = errors.to_string();
    assert!(report.contains("7 errors"), "{report}");
    for word in ["wJalr", "AKIA", "Zm9v", "xyzzy"] {
        assert!(!report.contains(word), "{word} is shown:\n{report}");
    }
    for help in [
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        assert!(report.contains(help), "{help} is not mentioned:\n{report}");
    }
}

#[test]
fn what_no_store_knows() {
    rejects(
        r##"
[storage]
regoin = "eu-central-1"
allow_http = "perhaps"
endpoint = "localhost:9000"
timeout = "soon"
"##,
        r##"
error: unknown storage option `regoin`
  --> case.toml:2:1
   |
 2 | regoin = "eu-central-1"
   | ^^^^^^
   = key: storage.regoin
   = expected: `endpoint`, `allow_http`, `skip_signature`, `timeout`, `connect_timeout`, `proxy_url`, `region`, `path_style`, `virtual_hosted_style_request`, `allow_unsafe_rename`, `s3_express`, `unsigned_payload`, `request_payer`, `imdsv1_fallback`, `disable_tagging`, `server_side_encryption`, `sse_kms_key_id`, `sse_bucket_key_enabled`, `account_name`, `use_emulator`, `use_fabric_endpoint`, `use_azure_cli`, `tenant_id`, `client_id`, `authority_host`, `object_id` or `msi_resource_id`
   = help: did you mean `region`?

error: invalid value "perhaps"
  --> case.toml:3:14
   |
 3 | allow_http = "perhaps"
   |              ^^^^^^^^^
   = key: storage.allow_http
   = expected: true or false

error: invalid value "localhost:9000"
  --> case.toml:4:12
   |
 4 | endpoint = "localhost:9000"
   |            ^^^^^^^^^^^^^^^^
   = key: storage.endpoint
   = expected: an http:// or https:// URL

error: invalid value "soon"
  --> case.toml:5:11
   |
 5 | timeout = "soon"
   |           ^^^^^^
   = key: storage.timeout
   = expected: a duration, such as "30s" or "2 minutes"

4 errors in the configuration
"##,
    );
}

#[test]
fn what_stays_on_the_local_disk() {
    rejects(
        r##"
data_dir = "s3://lake"

[checkpoint]
directory = "gs://lake/checkpoints"
"##,
        r##"
error: invalid value "s3://lake"
  --> case.toml:1:12
   |
 1 | data_dir = "s3://lake"
   |            ^^^^^^^^^^^
   = key: data_dir
   = expected: a directory
   = help: checkpoints are below it, and they are on a local disk; give each table a `path` of its own

error: invalid value "gs://lake/checkpoints"
  --> case.toml:4:13
   |
 4 | directory = "gs://lake/checkpoints"
   |             ^^^^^^^^^^^^^^^^^^^^^^^
   = key: checkpoint.directory
   = expected: a directory
   = help: checkpoints are on a local disk: what they promise is flushed there

2 errors in the configuration
"##,
    );
}
