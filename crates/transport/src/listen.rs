//! The hub's side of the line: accept, verify, read the hello, hand over.
//!
//! Job: from a listening socket to [`Arrival`]s whose hello names the site of their certificate.
//! Each connection has its own task, so a slow or hostile one delays nobody else; their number
//! and every step's time are bounded (invariant I6).
//!
//! Not here: the session an arrival belongs to (`peer`), and whether a site is still welcome (the
//! hub asks its own records).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tidegate_domain::session::{Body, CloseCode, Control, Frame, Hello};
use tidegate_gate::Cleared;
use tidegate_seams::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::certs::{CertError, SiteRole, named_site};
use crate::connection::{Connection, LineGuard, Receiver, queue};
use crate::parcel::Parcel;
use crate::rpc::{self, Recorder, Recording};
use crate::tls::{self, Credentials, PeerIdentity};

/// Connections at once, those in their handshake included.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long the TLS handshake may take, and again the first frame.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long frames already written may take to leave when a connection is given up.
const FAREWELL: Duration = Duration::from_secs(2);
/// Arrivals that may wait for the hub.
const ARRIVALS_MAX: usize = 64;

/// A connection whose node said hello. Its certificate names the site that the hello names.
pub struct Arrival<O = Cleared> {
    /// What the node said; pick the session by its site.
    pub hello: Hello,
    /// The connection.
    pub connection: Connection<O>,
}

/// Why a connection did not become an [`Arrival`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// It broke, was too slow, or its first frame was not a hello.
    #[error("no hello came")]
    NoHello,
    /// The hello names another site than the certificate.
    #[error("the hello names another site than the certificate")]
    OtherSite,
}

impl<O: Parcel> Arrival<O> {
    /// Reads the hello. For connections of [`Listener`] that is done already.
    pub async fn greet(mut connection: Connection<O>) -> Result<Self, GreetingError> {
        let frame = tokio::time::timeout(GREETING_TIMEOUT, connection.receiver.receive()).await;
        let Ok(Ok(Some(Frame { body: Body::Control(Control::Hello(hello)), epoch, .. }))) = frame else {
            return Err(GreetingError::NoHello);
        };
        if hello.epoch != epoch {
            return Err(GreetingError::NoHello);
        }
        if hello.site != connection.peer.site {
            Self { hello, connection }.refuse(CloseCode::Site);
            return Err(GreetingError::OtherSite);
        }
        Ok(Self { hello, connection })
    }

    /// Sends the node away with a reason.
    pub fn refuse(self, code: CloseCode) {
        let body = Body::Control(Control::Close { code });
        self.connection.sender.try_send(Frame { epoch: self.hello.epoch, seq: 0, ack: 0, body });
    }
}

/// A socket that nodes connect to. Dropping it stops accepting; connections go on.
pub struct Listener<O = Cleared> {
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrival<O>>,
    accepting: JoinHandle<()>,
}

impl<O: Parcel> Listener<O> {
    /// Listens. `recorder` sees everything that arrives, first.
    pub async fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        clock: Arc<dyn Clock>,
        recorder: Option<Arc<dyn Recorder>>,
    ) -> Result<Self, ListenError> {
        let (config, verifier) = tls::server(credentials, clock)?;
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (arrived, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let door = Door { config, verifier, recorder, arrived };
        let accepting = tokio::spawn(accept_all(socket, Arc::new(door)));
        Ok(Self { address, arrivals, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next node that said hello; `None` if the socket is gone.
    pub async fn accept(&mut self) -> Option<Arrival<O>> {
        self.arrivals.recv().await
    }
}

impl<O> Drop for Listener<O> {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Why there is no [`Listener`].
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("the hub cannot listen at this address")]
    Socket(#[from] io::Error),
    /// The credentials are wrong.
    #[error(transparent)]
    Credentials(#[from] CertError),
}

/// What every connection passes through.
struct Door<O> {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    recorder: Option<Arc<dyn Recorder>>,
    arrived: mpsc::Sender<Arrival<O>>,
}

async fn accept_all<O: Parcel>(socket: TcpListener, door: Arc<Door<O>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((tcp, _)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    door.pass(tcp).await;
                    drop(place);
                });
            }
            // Out of descriptors, or a connection that went before it was accepted: neither may
            // end the hub, and the first must not turn this into a busy loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl<O: Parcel> Door<O> {
    /// One connection, from TCP to its end.
    async fn pass(self: Arc<Self>, tcp: TcpStream) {
        if tcp.set_nodelay(true).is_err() {
            return;
        }
        let handshake = TlsAcceptor::from(self.config.clone()).accept(tcp);
        let Ok(Ok(stream)) = tokio::time::timeout(GREETING_TIMEOUT, handshake).await else { return };
        let (_, session) = stream.get_ref();
        if !tls::agreed(session.alpn_protocol(), session.protocol_version()) {
            return;
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first).cloned();
        let site = certificate.as_ref().and_then(|certificate| named_site(certificate, SiteRole::Node));
        let (Some(certificate), Some(site)) = (certificate, site) else { return };
        let peer = PeerIdentity::proven(site, certificate, self.verifier.clone());

        let (ended, unwanted) = oneshot::channel();
        let call = Arc::new(Call { peer, ended: Mutex::new(Some(ended)), opened: AtomicBool::new(false) });
        let service = {
            let (door, call) = (self.clone(), call.clone());
            service_fn(move |request| {
                let response = door.open(request, &call);
                async move { Ok::<_, Infallible>(response) }
            })
        };
        let line = rpc::server_settings().serve_connection(TokioIo::new(stream), service);
        tokio::pin!(line);
        let no_call = async {
            tokio::time::sleep(GREETING_TIMEOUT).await;
            if call.opened.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = &mut line => return,
            () = no_call => return,
            _ = unwanted => {}
        }
        // What was written last, a farewell above all, still leaves.
        line.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(FAREWELL, line).await;
    }

    fn open(self: &Arc<Self>, request: Request<Incoming>, call: &Call) -> Response<tonic::body::Body> {
        if let Some(recorder) = &self.recorder {
            recorder.headers(call.peer.site, request.uri().path(), request.headers());
        }
        if !rpc::is_open(&request) {
            return rpc::refuse(Code::Unimplemented);
        }
        let ended = call.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if ended.is_none() {
            return rpc::refuse(Code::AlreadyExists);
        }
        call.opened.store(true, Ordering::Release);
        let recording: Recording = self.recorder.clone().map(|recorder| (recorder, call.peer.site));
        let frames = rpc::request_frames(request.into_body(), recording);
        let (sender, outbound) = queue();
        let receiver = Receiver::rpc(call.peer.site.realm, frames, ended);
        let connection = Connection { peer: call.peer.clone(), sender, receiver };
        let arrived = self.arrived.clone();
        tokio::spawn(async move {
            if let Ok(arrival) = Arrival::greet(connection).await {
                // If the hub is gone or swamped the node connects again.
                let _ = arrived.try_send(arrival);
            }
        });
        rpc::accept(outbound)
    }
}

/// What the calls on one connection share: there may be one.
struct Call {
    peer: PeerIdentity,
    ended: Mutex<LineGuard>,
    opened: AtomicBool,
}
