//! Who is who: the hub's certificate authority and the certificates it gives out.
//!
//! Job: Ed25519 keys and certificates whose SPIFFE name says realm, kind and site. A node brings
//! its own public key, so its private key never leaves it.
//!
//! Not here: who may have a certificate (enrolment, on the hub), and checking one during a
//! handshake (`tls`). A certificate says who speaks; it gives no authority over any gate, whose
//! owner's root is another (attacker A4).
//!
//! Entropy and time come from the seams, so a simulation under one seed issues the same bytes.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_seams::entropy;
use tidegate_seams::{Entropy, Seams, files};

/// How long a node's or a server's certificate lasts, in milliseconds: 30 days. Renew at half.
pub const CERTIFICATE_MS: u64 = 30 * DAY_MS;
/// How long the authority's own certificate lasts, in milliseconds: ten years.
pub const AUTHORITY_MS: u64 = 3650 * DAY_MS;
/// How far back a certificate's life begins, in milliseconds: clocks differ.
pub const CLOCK_SKEW_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const AUTHORITY_KEY: &str = "ca.key";
const AUTHORITY_CERTIFICATE: &str = "ca.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file could not be read or written.
    #[error("the certificate's files could not be read or written; check the folder and its rights")]
    Io(#[from] std::io::Error),
    /// Something is not a key or certificate of ours.
    #[error("`{0}` is not a valid key or certificate of this installation")]
    Malformed(&'static str),
    /// A server's name cannot stand in a certificate.
    #[error("`{0}` is not a host name or address")]
    Name(String),
    /// The certificate could not be made.
    #[error("the certificate could not be made")]
    Issue(#[from] rcgen::Error),
    /// TLS refuses the key or certificate.
    #[error("TLS refuses the key or certificate")]
    Tls(#[from] rustls::Error),
}

/// A private key. It neither prints nor clones.
pub struct PrivateKey {
    pair: rcgen::KeyPair,
}

/// A public key, 32 bytes of Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl PrivateKey {
    /// A new key.
    pub fn generate(source: &dyn Entropy) -> Result<Self, CertError> {
        // PKCS #8 of an Ed25519 seed (RFC 8410, section 7) is this head and the seed.
        const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = [HEAD.as_slice(), &entropy::bytes::<32>(source)].concat();
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)?;
        Ok(Self { pair })
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey, CertError> {
        let bytes = self.pair.public_key_raw().try_into().map_err(|_| CertError::Malformed("public key"))?;
        Ok(PublicKey(bytes))
    }

    /// Reads a key kept by [`Self::save`].
    pub fn load(path: &Path) -> Result<Self, CertError> {
        let pem = std::fs::read_to_string(path)?;
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519)?;
        Ok(Self { pair })
    }

    /// Keeps the key, readable by its owner alone.
    pub fn save(&self, path: &Path) -> Result<(), CertError> {
        Ok(files::replace(path, self.pair.serialize_pem().as_bytes())?)
    }

    pub(crate) fn der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }
}

/// A certificate, and whom it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: String,
}

impl Certificate {
    /// From its PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, CertError> {
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertError::Malformed("certificate"))?;
        Ok(Self { pem: pem.to_owned() })
    }

    /// Its PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Reads a certificate kept by [`Self::save`].
    pub fn load(path: &Path) -> Result<Self, CertError> {
        Self::from_pem(&std::fs::read_to_string(path)?)
    }

    /// Keeps the certificate.
    pub fn save(&self, path: &Path) -> Result<(), CertError> {
        Ok(files::replace(path, self.pem.as_bytes())?)
    }

    pub(crate) fn der(&self) -> Result<CertificateDer<'static>, CertError> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).map_err(|_| CertError::Malformed("certificate"))
    }
}

/// The hub's certificate authority: the one root that nodes trust for the session.
pub struct Authority {
    realm: Realm,
    issuer: Issuer<'static, rcgen::KeyPair>,
    certificate: Certificate,
}

impl Authority {
    /// Makes the authority of a realm and keeps its key in `dir`. An authority already there is
    /// replaced, and every certificate it gave out becomes worthless.
    pub fn create(dir: &Path, realm: Realm, seams: &Seams) -> Result<Self, CertError> {
        let key = PrivateKey::generate(&*seams.entropy)?;
        let params = authority_params(realm, seams)?;
        let certificate = Certificate { pem: params.self_signed(&key.pair)?.pem() };
        key.save(&dir.join(AUTHORITY_KEY))?;
        certificate.save(&dir.join(AUTHORITY_CERTIFICATE))?;
        Ok(Self { realm, issuer: Issuer::new(params, key.pair), certificate })
    }

    /// Reads the authority kept in `dir`.
    pub fn load(dir: &Path, seams: &Seams) -> Result<Self, CertError> {
        let key = PrivateKey::load(&dir.join(AUTHORITY_KEY))?;
        let certificate = Certificate::load(&dir.join(AUTHORITY_CERTIFICATE))?;
        let der = certificate.der()?;
        let parsed = webpki::EndEntityCert::try_from(&der).map_err(|_| CertError::Malformed(AUTHORITY_CERTIFICATE))?;
        if parsed.subject_public_key_info().as_ref() != key.pair.subject_public_key_info() {
            return Err(CertError::Malformed(AUTHORITY_KEY));
        }
        let name = parsed.valid_uri_names().next().and_then(|uri| uri.strip_prefix(TRUST_DOMAIN));
        let realm = name.and_then(|realm| realm.parse().ok()).ok_or(CertError::Malformed(AUTHORITY_CERTIFICATE))?;
        // What an issuer puts into a certificate of its own parameters is its name alone, which
        // follows from the realm.
        Ok(Self { realm, issuer: Issuer::new(authority_params(realm, seams)?, key.pair), certificate })
    }

    /// The tenant it speaks for.
    pub fn realm(&self) -> Realm {
        self.realm
    }

    /// The root to give to nodes.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate for the hub as server, under these host names or addresses.
    pub fn issue_server(
        &self,
        site: SiteId,
        names: &[&str],
        key: PublicKey,
        seams: &Seams,
    ) -> Result<Certificate, CertError> {
        let mut alternatives = vec![uri(&spiffe_name(SiteRole::Hub, site))?];
        for name in names {
            alternatives.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if is_host_name(name) => {
                    SanType::DnsName((*name).try_into().map_err(|_| CertError::Name((*name).to_owned()))?)
                }
                Err(_) => return Err(CertError::Name((*name).to_owned())),
            });
        }
        self.issue(alternatives, ExtendedKeyUsagePurpose::ServerAuth, key, seams)
    }

    /// A certificate for a device or worker as client.
    pub fn issue_node(&self, site: SiteId, key: PublicKey, seams: &Seams) -> Result<Certificate, CertError> {
        let alternatives = vec![uri(&spiffe_name(SiteRole::Node, site))?];
        self.issue(alternatives, ExtendedKeyUsagePurpose::ClientAuth, key, seams)
    }

    fn issue(
        &self,
        alternatives: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
        key: PublicKey,
        seams: &Seams,
    ) -> Result<Certificate, CertError> {
        let mut params = params(CERTIFICATE_MS, seams)?;
        params.subject_alt_names = alternatives;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(Certificate { pem: params.signed_by(&key, &self.issuer)?.pem() })
    }
}

fn params(life_ms: u64, seams: &Seams) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now_ms = seams.clock.wall_ms();
    params.not_before = epoch + Duration::from_millis(now_ms.saturating_sub(CLOCK_SKEW_MS));
    params.not_after = epoch + Duration::from_millis(now_ms.saturating_add(life_ms));
    params.distinguished_name = DistinguishedName::new();
    let mut serial = entropy::bytes::<16>(&*seams.entropy);
    // RFC 5280, section 4.1.2.2: positive, and the same length always.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    Ok(params)
}

fn authority_params(realm: Realm, seams: &Seams) -> Result<CertificateParams, CertError> {
    let mut params = params(AUTHORITY_MS, seams)?;
    params.distinguished_name.push(DnType::CommonName, format!("tidegate {realm}"));
    params.subject_alt_names = vec![uri(&format!("{TRUST_DOMAIN}{realm}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn uri(name: &str) -> Result<SanType, CertError> {
    Ok(SanType::URI(name.try_into()?))
}

/// RFC 1123, with a limit of 253 characters.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

const TRUST_DOMAIN: &str = "spiffe://tidegate/";

/// What a certificate lets its holder be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SiteRole {
    Hub,
    Node,
}

impl SiteRole {
    fn name(self) -> &'static str {
        match self {
            SiteRole::Hub => "hub",
            SiteRole::Node => "node",
        }
    }
}

/// `spiffe://tidegate/<realm>/<node or hub>/site-…`
fn spiffe_name(role: SiteRole, site: SiteId) -> String {
    let shown = site.to_string();
    let id = shown.rsplit('/').next().unwrap_or_default();
    format!("{TRUST_DOMAIN}{}/{}/{id}", site.realm, role.name())
}

/// The site a certificate names in this role, if it names exactly one and nothing else.
pub(crate) fn named_site(certificate: &CertificateDer<'_>, role: SiteRole) -> Option<SiteId> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_uri_names();
    let (name, None) = (names.next()?, names.next()) else { return None };
    let mut parts = name.strip_prefix(TRUST_DOMAIN)?.splitn(3, '/');
    let (realm, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    if kind != role.name() {
        return None;
    }
    let site: SiteId = format!("{realm}/{id}").parse().ok()?;
    // One spelling only, so that a name cannot mean two sites to two readers.
    (spiffe_name(role, site) == name).then_some(site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_authority_is_kept_and_its_certificates_name_sites() {
        let dir = tempfile::tempdir().unwrap();
        let seams = Seams::system();
        let realm: Realm = "acme".parse().unwrap();
        Authority::create(dir.path(), realm, &seams).unwrap();
        let mode = std::fs::metadata(dir.path().join(AUTHORITY_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let authority = Authority::load(dir.path(), &seams).unwrap();
        assert_eq!(authority.realm(), realm);
        let key = PrivateKey::generate(&*seams.entropy).unwrap().public().unwrap();
        for site in [SiteId { realm, bits: 3 }, SiteId { realm: Realm::LOCAL, bits: 4 }] {
            let node = authority.issue_node(site, key, &seams).unwrap().der().unwrap();
            assert_eq!(named_site(&node, SiteRole::Node), Some(site));
            assert_eq!(named_site(&node, SiteRole::Hub), None);
            let hub = authority.issue_server(site, &["localhost", "127.0.0.1"], key, &seams).unwrap();
            assert_eq!(named_site(&hub.der().unwrap(), SiteRole::Hub), Some(site));
            assert_eq!(named_site(&hub.der().unwrap(), SiteRole::Node), None);
        }
        for name in ["", "a b", "x/y", "-a", "*.example"] {
            let site = SiteId { realm, bits: 3 };
            assert!(matches!(authority.issue_server(site, &[name], key, &seams), Err(CertError::Name(_))));
        }
    }

    #[test]
    fn a_foreign_key_beside_the_certificate_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let seams = Seams::system();
        Authority::create(dir.path(), Realm::LOCAL, &seams).unwrap();
        PrivateKey::generate(&*seams.entropy).unwrap().save(&dir.path().join(AUTHORITY_KEY)).unwrap();
        assert!(matches!(Authority::load(dir.path(), &seams), Err(CertError::Malformed(AUTHORITY_KEY))));
    }
}
