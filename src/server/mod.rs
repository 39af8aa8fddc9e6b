//! The HTTP server: metrics, health, readiness and the API.
//!
//! | path | what it gives |
//! |---|---|
//! | `/metrics` | every metric, for Prometheus |
//! | `/healthz` | 200 while the process is alive |
//! | `/readyz` | 200 when every pipeline is fit to work, else 503 with the reasons |
//! | `/api/v1/pipelines` | where every pipeline stands |
//! | `/api/v1/pipelines/{name}` | where one stands |
//! | `/` | a list of these |
//!
//! It runs in an actix system of its own, on a thread of its own, so that it answers while the
//! pipelines are busy, restarting or gone. It only reads, and it is bounded in every direction:
//! connections, the size and the time of a request's head, idle connections, bodies (none).

mod routes;

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

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// What the server shows.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// The metrics.
    pub handle: PrometheusHandle,
    /// The pipelines, in the order of the configuration.
    pub pipelines: Vec<Arc<PipelineProgress>>,
    /// What memory sinks hold, by sink.
    pub tables: BTreeMap<String, Arc<MemoryTable>>,
    /// When the daemon started.
    pub started: Now,
}

impl ServerState {
    /// A daemon that starts now.
    pub fn new(handle: PrometheusHandle, pipelines: Vec<Arc<PipelineProgress>>) -> Self {
        Self { handle, pipelines, tables: BTreeMap::new(), started: Now::read() }
    }

    /// The same, with what memory sinks hold.
    pub fn with_tables(self, tables: BTreeMap<String, Arc<MemoryTable>>) -> Self {
        Self { tables, ..self }
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
    /// The server's thread or its runtime did not start.
    #[error("the HTTP server cannot be started: {0}")]
    Start(io::Error),
}

/// A running server. Stops when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    addr: SocketAddr,
    handle: ActixHandle,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    /// The address it listens on, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
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
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Starts the server. It listens when this returns.
pub fn start(options: ServerOptions, state: ServerState) -> Result<ServerHandle, ServerError> {
    let listen = options.listen;
    // Bound here, so that a port that is taken is this call's error.
    let listener = TcpListener::bind(listen).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortTaken { listen },
        _ => ServerError::Listen { listen, source },
    })?;
    let addr = listener.local_addr().map_err(ServerError::Start)?;
    let (report, started) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            rt::System::new().block_on(async move {
                match server(listener, state) {
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
            tracing::info!(address = %addr, "http server listening");
            Ok(ServerHandle { addr, handle, thread: Some(thread) })
        }
        Ok(Err(error)) => Err(ServerError::Start(error)),
        Err(_) => Err(ServerError::Start(io::Error::other("its thread ended at once"))),
    }
}

fn server(listener: TcpListener, state: ServerState) -> io::Result<actix_web::dev::Server> {
    let state = actix_web::web::Data::new(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .wrap(actix_web::middleware::from_fn(routes::guard))
            .configure(routes::configure)
    })
    // Scrapes are milliseconds of work; the cores belong to the pipelines.
    .workers(1)
    .worker_max_blocking_threads(1)
    .max_connections(CONNECTIONS)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    // Signals are the daemon's business.
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

#[cfg(test)]
mod tests;
