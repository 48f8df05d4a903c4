//! TLS for the session: version 1.3, both sides named, nothing resumed.
//!
//! Job: the two rustls configurations and the check, repeatable later, that a peer's certificate
//! still holds. Resumption and tickets are off on both sides because rustls does not verify a
//! client's certificate again when a session is resumed. The provider is passed in explicitly,
//! so no process-wide default can change what is spoken here; time is the seam's.
//!
//! Not here: issuing (`certs`) and sockets (`listen`, `connect`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidegate_domain::ids::SiteId;
use tidegate_seams::Clock;

use crate::certs::{CertError, Certificate, PrivateKey};

const ALPN: &[u8] = b"h2";

/// What this side shows and trusts.
pub struct Credentials {
    /// The one root it trusts.
    pub authority: Certificate,
    /// Its own certificate.
    pub certificate: Certificate,
    /// The key of that certificate.
    pub key: PrivateKey,
}

struct SeamTime(Arc<dyn Clock>);

impl fmt::Debug for SeamTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeamTime")
    }
}

impl TimeProvider for SeamTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.wall_ms()))
    }
}

fn unix_time(wall_ms: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(wall_ms))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(credentials: &Credentials) -> Result<Arc<RootCertStore>, CertError> {
    let mut roots = RootCertStore::empty();
    roots.add(credentials.authority.der()?)?;
    Ok(Arc::new(roots))
}

/// The hub's side, and the verifier to ask again with.
pub(crate) fn server(
    credentials: &Credentials,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<ServerConfig>, Arc<dyn ClientCertVerifier>), CertError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(credentials)?, provider())
        .build()
        .map_err(|_| CertError::Malformed("authority"))?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(SeamTime(clock)))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(vec![credentials.certificate.der()?], credentials.key.der())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok((Arc::new(config), verifier))
}

/// A node's side.
pub(crate) fn client(credentials: &Credentials, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, CertError> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(SeamTime(clock)))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(credentials)?)
        .with_client_auth_cert(vec![credentials.certificate.der()?], credentials.key.der())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// Whether the handshake ended as it must.
pub(crate) fn agreed(alpn: Option<&[u8]>, version: Option<rustls::ProtocolVersion>) -> bool {
    alpn == Some(ALPN) && version == Some(rustls::ProtocolVersion::TLSv1_3)
}

/// The other end of a connection, as its certificate names it.
#[derive(Clone)]
pub struct PeerIdentity {
    /// The site in the certificate.
    pub site: SiteId,
    proof: Option<Arc<Proof>>,
}

struct Proof {
    certificate: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl PeerIdentity {
    /// A peer whose certificate can be checked again.
    pub(crate) fn proven(
        site: SiteId,
        certificate: CertificateDer<'static>,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Self {
        Self { site, proof: Some(Arc::new(Proof { certificate, verifier })) }
    }

    /// A peer whose certificate was checked by the handshake alone (a node's hub), or none is
    /// (in memory).
    pub(crate) fn once(site: SiteId) -> Self {
        Self { site, proof: None }
    }

    /// Whether the certificate holds at this wall time. A stream may outlive its certificate,
    /// which nothing else would notice.
    pub fn holds_at(&self, wall_ms: u64) -> bool {
        self.proof
            .as_ref()
            .is_none_or(|proof| proof.verifier.verify_client_cert(&proof.certificate, &[], unix_time(wall_ms)).is_ok())
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({})", self.site)
    }
}
