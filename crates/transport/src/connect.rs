//! A node's way to the hub: TCP, TLS with the pinned authority, one call.
//!
//! Job: from an address and credentials to a [`Connection`], within a time limit.
//!
//! Not here: when to try again (`dial`), and the session on top (`peer`).

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_seams::Clock;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use crate::certs::{CertError, SiteRole, named_site};
use crate::connection::{Connection, Receiver, queue};
use crate::parcel::Parcel;
use crate::tls::{Credentials, PeerIdentity};
use crate::{rpc, tls};

/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long frames already written may take to leave when a connection is given up.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `https://host:port`.
    #[error("`{0}` is not an address of a hub; write `https://host:port`")]
    Address(String),
    /// The network or the TLS handshake failed.
    #[error("the hub cannot be reached, or its certificate is not of the pinned authority")]
    Line(#[from] std::io::Error),
    /// The handshake ended with another protocol than TLS 1.3 and HTTP/2.
    #[error("the hub does not speak TLS 1.3 with HTTP/2")]
    Protocol,
    /// The certificate names no hub.
    #[error("the certificate at this address is not a hub's")]
    NotAHub,
    /// HTTP/2 failed.
    #[error("the hub refused the connection; its certificate check or this node's may have failed")]
    Http(#[from] hyper::Error),
    /// The call was refused.
    #[error("the hub did not open a session")]
    Refused(#[source] Box<tonic::Status>),
    /// It took too long.
    #[error("the hub did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

/// Where a node's hub is, and what is shown and trusted on the way.
pub struct Connector {
    host: String,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Prepares connections to `https://host:port`.
    pub fn new(url: &str, credentials: &Credentials, clock: Arc<dyn Clock>) -> Result<Self, ConnectorError> {
        let address = || ConnectError::Address(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| address())?;
        let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16()) else {
            return Err(address().into());
        };
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| address())?;
        Ok(Self { host, port, name, config: tls::client(credentials, clock)? })
    }

    /// Connects once.
    pub async fn connect<O: Parcel>(&self) -> Result<Connection<O>, ConnectError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open<O: Parcel>(&self) -> Result<Connection<O>, ConnectError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(self.config.clone()).connect(self.name.clone(), tcp).await?;
        let (_, session) = stream.get_ref();
        if !tls::agreed(session.alpn_protocol(), session.protocol_version()) {
            return Err(ConnectError::Protocol);
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let site = certificate.and_then(|certificate| named_site(certificate, SiteRole::Hub));
        let site = site.ok_or(ConnectError::NotAHub)?;

        let (mut requests, line) = rpc::client_settings().handshake(TokioIo::new(stream)).await?;
        let (unwanted, dropped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tokio::pin!(line);
            tokio::select! {
                _ = &mut line => {}
                _ = dropped => { let _ = tokio::time::timeout(FAREWELL, &mut line).await; }
            }
        });
        let (sender, outbound) = queue();
        let authority = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let request = rpc::request(&authority, outbound).map_err(|_| ConnectError::Protocol)?;
        let response = requests.send_request(request).await?;
        let frames = rpc::response_frames(response).map_err(|status| ConnectError::Refused(Box::new(status)))?;
        let receiver = Receiver::rpc(site.realm, frames, Some(unwanted));
        Ok(Connection { peer: PeerIdentity::once(site), sender, receiver })
    }
}

/// Why a [`Connector`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The address is wrong.
    #[error(transparent)]
    Address(#[from] ConnectError),
    /// The credentials are.
    #[error(transparent)]
    Credentials(#[from] CertError),
}
