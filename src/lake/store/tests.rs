//! Stores without a network: what they are told, what they refuse, and how writers are kept apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use deltalake::logstore::object_store::memory::InMemory;
use deltalake::logstore::object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path,
};
use url::Url;

use super::options::Resolved;
use super::probe::{Problem, guards};
use super::unguarded::Unguarded;
use super::upload::upload_in;
use super::*;
use crate::lake::{LakeError, TableLocation};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn options_lie_over_the_environment() {
    let environment = map(&[
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "https://one:1"),
        ("AWS_ENDPOINT_URL_S3", "https://two:2"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SESSION_TOKEN", ""),
        ("AZURE_STORAGE_ACCOUNT_NAME", "lake"),
        ("GOOGLE_SERVICE_ACCOUNT", "/etc/key.json"),
    ]);
    let resolved = Resolved::new(Provider::S3, &map(&[]), &environment).unwrap();
    assert_eq!(resolved.get("region"), Some("eu-west-1"));
    assert_eq!(resolved.get("endpoint"), Some("https://two:2"));
    assert_eq!(resolved.get("access_key_id"), Some("id"));
    assert!(!resolved.has("session_token") && !resolved.has("account_name"));

    let options = map(&[
        ("region", "a"),
        ("AWS_REGION", "b"),
        ("azure_endpoint", "https://x"),
        ("path_style", "false"),
        ("timeout", "2 minutes"),
    ]);
    let resolved = Resolved::new(Provider::S3, &options, &environment).unwrap();
    assert_eq!(resolved.get("region"), Some("b"), "what is meant for this store alone wins");
    assert_eq!(resolved.get("endpoint"), Some("https://two:2"));
    assert_eq!(resolved.get("virtual_hosted_style_request"), Some("true"));
    assert_eq!(resolved.get("timeout"), Some("2 minutes"));
    let resolved = Resolved::new(Provider::Azure, &options, &environment).unwrap();
    assert_eq!(resolved.get("endpoint"), Some("https://x"));
    assert!(!resolved.has("region"));
}

#[test]
fn every_option_means_something_to_its_client() {
    let options = map(&[
        ("endpoint", "https://localhost:1"),
        ("allow_http", "yes"),
        ("skip_signature", "true"),
        ("timeout", "30s"),
        ("connect_timeout", "500 ms"),
        ("proxy_url", "http://proxy:1"),
        ("region", "r"),
        ("path_style", "true"),
        ("unsigned_payload", "on"),
        ("request_payer", "false"),
        ("imdsv1_fallback", "1"),
        ("disable_tagging", "true"),
        ("server_side_encryption", "aws:kms"),
        ("sse_kms_key_id", "k"),
        ("sse_bucket_key_enabled", "true"),
        ("account_name", "a"),
        ("use_fabric_endpoint", "no"),
        ("use_azure_cli", "no"),
        ("tenant_id", "t"),
        ("client_id", "c"),
        ("authority_host", "https://login"),
        ("object_id", "o"),
        ("msi_resource_id", "m"),
    ]);
    for (address, provider) in [
        ("s3://bucket/t", Provider::S3),
        ("az://box/t", Provider::Azure),
        ("gs://bucket/t", Provider::Gcs),
    ] {
        let built = build_with(&url(address), provider, &options, &map(&[]));
        assert!(built.is_ok(), "{address}: {:?}", built.err());
    }
}

#[test]
fn plain_http_has_to_be_allowed() {
    let options = map(&[("endpoint", "http://localhost:9000")]);
    let refused = Resolved::new(Provider::S3, &options, &map(&[])).unwrap_err();
    assert!(refused.contains("allow_http = true"), "{refused}");
}

#[test]
fn secrets_do_not_come_out_of_errors() {
    redact::remember(&map(&[
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t-value"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("AWS_SESSION_TOKEN", "abc"),
    ]));
    let text = redact("403: s3cr3t-value from /var/run/token, abc");
    assert_eq!(text, "403: *** from /var/run/token, abc");
    let error = LakeError::io("write", "s3://b/t", "denied to s3cr3t-value");
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
}

#[test]
fn what_a_store_says_is_told_in_a_line() {
    let answer = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n\
                  <Error><Code>AccessDenied</Code><Message>Not you.\nReally</Message></Error>";
    let error = LakeError::io("write", "s3://b/t", answer);
    assert_eq!(
        error.to_string(),
        "could not write s3://b/t: Server returned non-2xx status code: 403 Forbidden: \
         AccessDenied: Not you."
    );
}

/// An answer within bounds, and not a wait for a metadata service that nobody has. The address is
/// of a network that routers drop packets to.
#[tokio::test]
async fn without_credentials_the_variables_are_named() {
    let environment = map(&[("AWS_METADATA_ENDPOINT", "http://192.0.2.1")]);
    let built = build_with(&url("s3://bucket/t"), Provider::S3, &map(&[]), &environment).unwrap();
    let began = Instant::now();
    let Err(credentials::Lacking::None(reason)) = built.credentials.run(Provider::S3).await else {
        panic!("there are none");
    };
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for name in ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"] {
        assert!(reason.contains(name), "{reason}");
    }
    let environment = map(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let built = build_with(&url("s3://bucket/t"), Provider::S3, &map(&[]), &environment).unwrap();
    let Err(credentials::Lacking::None(reason)) = built.credentials.run(Provider::S3).await else {
        panic!("there are none");
    };
    assert!(reason.contains("AWS_EC2_METADATA_DISABLED"), "{reason}");
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let bucket = url("s3://bucket/t");
    let good = InMemory::new();
    assert!(guards(&good, Provider::S3, &bucket).await.is_ok());
    assert!(good.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());

    let Err(Problem::Refused(reason)) = guards(&Careless::new(), Provider::S3, &bucket).await
    else {
        panic!("it overwrites");
    };
    assert!(reason.contains("allow_unsafe_rename"), "{reason}");
}

#[tokio::test]
async fn by_explicit_wish_it_is_looked_before_it_is_put() {
    let careless = Unguarded::new(Arc::new(Careless::new()));
    let path = Path::from("_delta_log/1.json");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    careless.put_opts(&path, Bytes::from_static(b"1").into(), create()).await.unwrap();
    let again = careless.put_opts(&path, Bytes::from_static(b"2").into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(careless.get(&path).await.unwrap().bytes().await.unwrap(), "1");
}

#[tokio::test]
async fn large_files_go_in_parts() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for size in [0, 1, 99, 100, 101, 139, 140, 141, 1000] {
        let bytes: Bytes = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        let path = Path::from(format!("part-{size}"));
        upload_in(&store, &path, bytes.clone(), 100, 40).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes, "{size}");
    }
}

#[test]
fn nothing_is_asked_to_find_out_where_a_table_is() {
    // No runtime, no network: only the address counts.
    let location = TableLocation::new("s3://bucket/t")
        .with_storage_options(map(&[("skip_signature", "true"), ("region", "eu-central-1")]));
    assert!(location.log_store().is_ok());
    assert!(location.local_path().is_none());
    let wrong = TableLocation::new("s3://bucket/t").with_storage_options(map(&[("secret", "x")]));
    assert!(matches!(wrong.log_store(), Err(LakeError::Store { .. })));
}

/// A store that overwrites whatever the condition.
#[derive(Debug)]
struct Careless {
    inner: InMemory,
    puts: AtomicUsize,
}

impl Careless {
    fn new() -> Self {
        Self { inner: InMemory::new(), puts: AtomicUsize::new(0) }
    }
}

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Careless")
    }
}

mod careless {
    use std::ops::Range;

    use deltalake::logstore::object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutPayload, PutResult, RenameOptions, Result,
    };
    use futures::future::BoxFuture;
    use futures::stream::BoxStream;

    use super::*;

    impl ObjectStore for Careless {
        fn put_opts<'a, 'b, 'f>(
            &'a self,
            location: &'b Path,
            payload: PutPayload,
            _opts: PutOptions,
        ) -> BoxFuture<'f, Result<PutResult>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            self.puts.fetch_add(1, Ordering::Relaxed);
            self.inner.put_opts(location, payload, PutOptions::default())
        }

        fn put_multipart_opts<'a, 'b, 'f>(
            &'a self,
            location: &'b Path,
            opts: PutMultipartOptions,
        ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            self.inner.put_multipart_opts(location, opts)
        }

        fn get_opts<'a, 'b, 'f>(
            &'a self,
            location: &'b Path,
            options: GetOptions,
        ) -> BoxFuture<'f, Result<GetResult>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            self.inner.get_opts(location, options)
        }

        fn get_ranges<'a, 'b, 'c, 'f>(
            &'a self,
            location: &'b Path,
            ranges: &'c [Range<u64>],
        ) -> BoxFuture<'f, Result<Vec<Bytes>>>
        where
            'a: 'f,
            'b: 'f,
            'c: 'f,
            Self: 'f,
        {
            self.inner.get_ranges(location, ranges)
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        fn list_with_delimiter<'a, 'b, 'f>(
            &'a self,
            prefix: Option<&'b Path>,
        ) -> BoxFuture<'f, Result<ListResult>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            self.inner.list_with_delimiter(prefix)
        }

        fn copy_opts<'a, 'b, 'c, 'f>(
            &'a self,
            from: &'b Path,
            to: &'c Path,
            options: CopyOptions,
        ) -> BoxFuture<'f, Result<()>>
        where
            'a: 'f,
            'b: 'f,
            'c: 'f,
            Self: 'f,
        {
            self.inner.copy_opts(from, to, options)
        }

        fn rename_opts<'a, 'b, 'c, 'f>(
            &'a self,
            from: &'b Path,
            to: &'c Path,
            options: RenameOptions,
        ) -> BoxFuture<'f, Result<()>>
        where
            'a: 'f,
            'b: 'f,
            'c: 'f,
            Self: 'f,
        {
            self.inner.rename_opts(from, to, options)
        }
    }
}
