//! The HTTP server: the page, metrics, health, readiness and the API.
//!
//! | path | what it gives |
//! |---|---|
//! | `/` | the page, for a browser; for others the list of these |
//! | `/metrics` | every metric, for Prometheus |
//! | `/healthz` | 200 while the process is alive |
//! | `/readyz` | 200 when every pipeline is fit to work, else 503 with the reasons |
//! | `/api/v1/pipelines` | where every pipeline stands |
//! | `/api/v1/pipelines/{name}` | where one stands |
//! | `/api/v1/pipelines/{name}/...` | its graph, windows, checkpoints, restarts, dead letters |
//! | `/api/v1/tables`, `/api/v1/sql` | the tables, and read-only statements over them |
//!
//! It runs in an actix system of its own, on a thread of its own, so that it answers while the
//! pipelines are busy, restarting or gone; statements run on further threads that give way to
//! all others. It only reads, and it is bounded in every direction: connections, the size and the
//! time of a request's head and body, idle connections, the time to answer, the time a client takes
//! to take the answer. Who may ask what is in [`access`].

pub mod access;
mod data;
mod lake;
mod page;
mod routes;
mod sql;
mod tls;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle as ActixHandle;
use actix_web::{App, HttpServer, rt};
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;

use self::access::Access;
use self::sql::SqlBox;
use self::tls::Certificates;
use crate::actors::blueprint::Topology;
use crate::config::{ServerSettings, SqlBoxSettings, TlsSettings};
use crate::sink::memory::MemoryTable;
use crate::telemetry::progress::PipelineProgress;
use crate::telemetry::time::Now;

/// Time to send the head of a request. A scraper on the same network takes milliseconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time an idle connection is kept for the next request: longer than a scrape interval, so that
/// a scraper keeps its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Time a client has to close its side after a response that ends the connection.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections at a time: a few scrapers and people. One more waits until another closes; a
/// response is held in memory for each.
const CONNECTIONS: usize = 128;
/// Seconds that requests in flight have when the server stops.
const SHUTDOWN_SECONDS: u64 = 2;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a client may leave what it was sent unread before its connection is cut.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

pub use self::lake::LakeStatements;
pub use self::sql::{Answer, Limits, StatementError, Statements, TableColumns};
pub use self::tls::TlsError;

/// Where to listen, and to whom.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether an address other than a loopback one may do without a token.
    pub allow_remote: bool,
    /// Who may ask what.
    pub access: Access,
    /// HTTPS, if it is to be.
    pub tls: Option<TlsSettings>,
    /// The bounds of statements.
    pub sql: SqlBoxSettings,
}

impl ServerOptions {
    /// For everybody on this machine, without a token.
    pub fn local(listen: SocketAddr) -> Self {
        Self {
            listen,
            allow_remote: false,
            access: Access::local(),
            tls: None,
            sql: SqlBoxSettings {
                enabled: true,
                timeout: Duration::from_secs(30),
                max_rows: 1000,
                max_concurrent: 2,
                memory: 256 << 20,
            },
        }
    }
}

impl From<&ServerSettings> for ServerOptions {
    fn from(settings: &ServerSettings) -> Self {
        Self {
            listen: settings.listen,
            allow_remote: settings.allow_remote,
            access: Access::new(settings),
            tls: settings.tls.clone(),
            sql: settings.sql.clone(),
        }
    }
}

/// What the server shows.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// The metrics.
    pub handle: PrometheusHandle,
    /// The pipelines, in the order of the configuration.
    pub pipelines: Vec<Arc<PipelineProgress>>,
    /// What each pipeline is made of, in the same order.
    pub topologies: Vec<Topology>,
    /// What memory sinks hold, by sink.
    pub tables: BTreeMap<String, Arc<MemoryTable>>,
    /// What runs statements, if something does.
    pub statements: Option<Arc<dyn Statements>>,
    /// When the daemon started.
    pub started: Now,
}

impl ServerState {
    /// A daemon that starts now.
    pub fn new(handle: PrometheusHandle, pipelines: Vec<Arc<PipelineProgress>>) -> Self {
        Self {
            handle,
            pipelines,
            topologies: Vec::new(),
            tables: BTreeMap::new(),
            statements: None,
            started: Now::read(),
        }
    }

    /// The same, with what memory sinks hold.
    pub fn with_tables(self, tables: BTreeMap<String, Arc<MemoryTable>>) -> Self {
        Self { tables, ..self }
    }

    /// The same, with what the pipelines are made of.
    pub fn with_topologies(self, topologies: Vec<Topology>) -> Self {
        Self { topologies, ..self }
    }

    /// The same, with something that runs statements.
    pub fn with_statements(self, statements: Arc<dyn Statements>) -> Self {
        Self { statements: Some(statements), ..self }
    }
}

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another program has the port.
    #[error(
        "the HTTP server cannot listen on {listen}: the port is taken by another program \
         (perhaps another Millpond); set server.listen to another address, or to port 0 for any \
         free port"
    )]
    PortTaken {
        /// The address wanted.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("the HTTP server cannot listen on {listen} (set by server.listen): {source}")]
    Listen {
        /// The address wanted.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Other machines could reach it, and nothing would keep them out.
    #[error(
        "the HTTP server would be open to other machines at {listen}: set server.token, for \
         instance to \"${{MILLPOND_TOKEN}}\", or set server.allow_remote = true if everyone who reaches \
         this address may read the tables"
    )]
    Open {
        /// The address wanted.
        listen: SocketAddr,
    },
    /// There can be no HTTPS.
    #[error("the HTTP server cannot use TLS: {0}")]
    Tls(#[from] TlsError),
    /// The server's thread or its runtime did not start.
    #[error("the HTTP server cannot be started: {0}")]
    Start(io::Error),
}

/// A running server. Stops when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    addr: SocketAddr,
    secure: bool,
    handle: ActixHandle,
    thread: Option<JoinHandle<()>>,
    statements: Option<tokio::runtime::Runtime>,
}

impl ServerHandle {
    /// The address it listens on, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it speaks HTTPS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Stops it: no new connections, up to two seconds for requests in flight. Returns once its
    /// thread has ended; blocks until then.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The command is sent by the call; the future only tells when it is done, and the end
            // of the thread tells that as well.
            drop(self.handle.stop(true));
            // A panic in there was reported by the panic hook.
            let _ = thread.join();
        }
        if let Some(statements) = self.statements.take() {
            // Whatever still runs is cancelled; a scheduler may be waiting around this call, so it
            // is not waited for.
            statements.shutdown_background();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Starts the server. It listens when this returns.
///
/// # Errors
/// The address cannot be had, it is open to others without a token, the certificate cannot be
/// used, or a thread does not start.
pub fn start(options: ServerOptions, state: ServerState) -> Result<ServerHandle, ServerError> {
    let listen = options.listen;
    if !listen.ip().is_loopback() && !options.access.has_token() && !options.allow_remote {
        return Err(ServerError::Open { listen });
    }
    let certificates = options.tls.as_ref().map(Certificates::read).transpose()?;
    // Bound here, so that a port that is taken is this call's error.
    let listener = TcpListener::bind(listen).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortTaken { listen },
        _ => ServerError::Listen { listen, source },
    })?;
    let addr = listener.local_addr().map_err(ServerError::Start)?;
    cut_off_unread(&listener);
    let secure = certificates.is_some();
    if !listen.ip().is_loopback() && options.access.has_token() && !secure {
        tracing::warn!(
            address = %addr,
            "the token crosses the network in clear text: set server.tls, or put a proxy with TLS \
             in front"
        );
    }
    let (statements, runtime) = match &state.statements {
        Some(statements) if options.sql.enabled => {
            let runtime = sql::runtime(&options.sql).map_err(ServerError::Start)?;
            let handle = runtime.handle().clone();
            (Some(SqlBox::new(options.sql.clone(), Arc::clone(statements), handle)), Some(runtime))
        }
        _ => (None, None),
    };
    let (report, started) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            rt::System::new().block_on(async move {
                match server(listener, options, certificates, state, statements) {
                    Ok(server) => {
                        // The receiver waits for this; if it is gone, so is the daemon.
                        let _ = report.send(Ok(server.handle()));
                        if let Err(error) = server.await {
                            tracing::error!(error = %error, "http server ended");
                        }
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            });
        })
        .map_err(ServerError::Start)?;
    match started.recv() {
        Ok(Ok(handle)) => {
            tracing::info!(address = %addr, tls = secure, "http server listening");
            Ok(ServerHandle { addr, secure, handle, thread: Some(thread), statements: runtime })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ServerError::Start(io::Error::other("its thread ended at once"))),
    }
}

fn server(
    listener: TcpListener,
    options: ServerOptions,
    certificates: Option<Arc<Certificates>>,
    state: ServerState,
    statements: Option<SqlBox>,
) -> Result<actix_web::dev::Server, ServerError> {
    let deadline = routes::Deadlines::new(&options.sql);
    let state = actix_web::web::Data::new(state);
    let access = actix_web::web::Data::new(options.access);
    let statements = actix_web::web::Data::new(statements);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(access.clone())
            .app_data(statements.clone())
            .app_data(actix_web::web::Data::new(deadline))
            .wrap(actix_web::middleware::from_fn(routes::guard))
            .configure(routes::configure)
    })
    // Scrapes are milliseconds of work; the cores belong to the pipelines.
    .workers(1)
    .worker_max_blocking_threads(1)
    .max_connections(CONNECTIONS)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    // A client that has closed its side has gone: its statement is cancelled.
    .h1_allow_half_closed(false)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    // Signals are the daemon's business.
    .disable_signals();
    let server = match certificates {
        Some(certificates) => {
            let config = certificates.config()?;
            rt::spawn(renew(certificates));
            server.listen_rustls_0_23(listener, config).map_err(ServerError::Start)?
        }
        None => server.listen(listener).map_err(ServerError::Start)?,
    };
    Ok(server.run())
}

/// Puts a renewed certificate in use for the connections that follow.
async fn renew(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(tls::LOOK).await;
        match certificates.refresh() {
            Ok(false) => {}
            Ok(true) => tracing::info!("http server has a new certificate"),
            Err(error) => {
                tracing::warn!(%error, "http server goes on with its old certificate");
            }
        }
    }
}

/// A client that takes nothing of its answer for [`UNREAD_TIMEOUT`] loses its connection, so that
/// such clients cannot use up all connections. Accepted sockets inherit it.
fn cut_off_unread(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let limit = libc::c_uint::try_from(UNREAD_TIMEOUT.as_millis()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the descriptor is open, and the option takes an unsigned int, whose address and
        // size are given. A refusal leaves the system's default, which is longer.
        unsafe {
            libc::setsockopt(
                listener.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_USER_TIMEOUT,
                std::ptr::from_ref(&limit).cast(),
                size_of_val(&limit) as libc::socklen_t,
            );
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, UNREAD_TIMEOUT);
}

#[cfg(test)]
mod tests;
