//! `millpond healthcheck`: asks a daemon whether it is well, for container engines whose images
//! have no curl.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use url::Url;

use super::{FAILED, OK};

const EXAMPLES: &str = "\
Examples:
  Is the process alive? (a container's health check: restarting helps if it is not)
    millpond healthcheck

  Do its pipelines work? (what others wait for before they start)
    millpond healthcheck http://127.0.0.1:9898/readyz

  With [server.tls], whose certificate names another host than 127.0.0.1:
    millpond healthcheck --no-verify https://127.0.0.1:9898/healthz
  or one that names it, but that no authority of this system has signed:
    millpond healthcheck --ca /etc/millpond/tls/tls.crt https://127.0.0.1:9898/healthz

Exit status: 0 it answered with a 2xx, 1 it did not, 2 wrong usage.";

/// Ask a running daemon whether it is well
///
/// Prints what it answers. /healthz and /readyz need no token.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthcheckArgs {
    /// What to ask
    #[arg(default_value = "http://127.0.0.1:9898/healthz", value_name = "URL", value_parser = address)]
    pub url: Url,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
    /// PEM file with the authorities to trust, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take any certificate: only for a daemon in the same container
    #[arg(long, conflicts_with = "ca")]
    pub no_verify: bool,
}

fn address(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("expected a URL such as http://127.0.0.1:9898/healthz".to_owned());
    }
    Ok(url)
}

/// Runs the subcommand.
pub fn execute(args: HealthcheckArgs) -> anyhow::Result<ExitCode> {
    match ask(&args) {
        Ok(answer) => {
            println!("{}", answer.trim_end());
            Ok(ExitCode::from(OK))
        }
        Err(error) => {
            eprintln!("error: {}: {error:#}", args.url);
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn ask(args: &HealthcheckArgs) -> anyhow::Result<String> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(args.timeout)))
        // What is wrong is in the body.
        .http_status_as_error(false)
        // Health is asked of the daemon itself, whatever proxy the environment names.
        .proxy(None)
        .tls_config(tls(args)?)
        .build()
        .into();
    let mut answer = agent.get(args.url.as_str()).call().context("no answer")?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(LIMIT).read_to_string();
    let body = body.context("the answer breaks off")?;
    if !status.is_success() {
        bail!("it answers {status}: {}", body.trim_end());
    }
    Ok(body)
}

/// Where Linux distributions keep the certificates of authorities (Debian's, Fedora's), the first of
/// which that is there counts.
const SYSTEM_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

fn tls(args: &HealthcheckArgs) -> anyhow::Result<TlsConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(args.no_verify);
    if args.no_verify || args.url.scheme() != "https" {
        // No certificate is looked at; the client still wants to be told of some.
        return Ok(config.root_certs(RootCerts::from(Vec::new())).build());
    }
    let pem = match &args.ca {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => {
            SYSTEM_CERTIFICATES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
        }
    };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        bail!("there are no certificates of authorities to trust; --ca names a PEM file of them");
    }
    Ok(config.root_certs(RootCerts::from(certificates)).build())
}

/// Bytes of an answer that are read: those of /readyz grow with the number of pipelines.
const LIMIT: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request with `answer`, and gives the URL to ask.
    fn serve(answer: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a request");
            let _ = stream.read(&mut [0; 1024]);
            let length = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
            let answer = answer.replace("LENGTH", &length.to_string());
            let _ = stream.write_all(answer.as_bytes());
        });
        address(&format!("http://127.0.0.1:{port}/healthz")).expect("a URL")
    }

    fn answer_of(url: Url) -> anyhow::Result<String> {
        ask(&HealthcheckArgs { url, timeout: 5, ca: None, no_verify: false })
    }

    #[test]
    fn a_daemon_that_is_well_says_so() {
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\n{\"status\":\"alive\"}");
        assert_eq!(answer_of(url).expect("it is well"), "{\"status\":\"alive\"}");
    }

    #[test]
    fn one_that_is_not_tells_why() {
        let url = serve(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: LENGTH\r\n\r\n{\"ready\":false}",
        );
        let error = format!("{:#}", answer_of(url).expect_err("it is not ready"));
        assert_eq!(error, "it answers 503 Service Unavailable: {\"ready\":false}");
    }

    #[test]
    fn one_that_is_not_there_is_not_well() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let url = address(&format!("http://127.0.0.1:{port}/")).expect("a URL");
        assert!(answer_of(url).is_err());
    }

    #[test]
    fn authorities_that_are_none_are_an_error() {
        let url = address("https://127.0.0.1:9/healthz").expect("a URL");
        let mut args = HealthcheckArgs { url, timeout: 5, ca: None, no_verify: false };
        args.ca = Some("/nowhere/ca.pem".into());
        let error = format!("{:#}", ask(&args).expect_err("there is no such file"));
        assert!(error.starts_with("cannot read /nowhere/ca.pem"), "{error}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        args.ca = Some(file.path().to_owned());
        let error = format!("{:#}", ask(&args).expect_err("it is empty"));
        assert!(error.starts_with("there are no certificates"), "{error}");
        args.no_verify = true;
        assert!(ask(&args).is_err(), "nobody listens there");
    }

    #[test]
    fn what_is_no_url_is_wrong_usage() {
        for text in ["", "127.0.0.1:9898", "ftp://host/", "http://", "localhost"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(address("https://[::1]:9898/readyz").is_ok());
    }
}
