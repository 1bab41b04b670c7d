//! The protected way to PostgreSQL: the server's certificate must come from a trusted authority and name the host that
//! was asked for. There is no way to skip that.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::open::OpenError;
use super::settings::Trust;

/// Makes the way to the server.
#[derive(Clone)]
pub(super) enum Connector {
    /// Unprotected, to a server on this machine or where the operator says so.
    Plain,
    /// Encrypted and verified.
    Tls(MakeRustlsConnect),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl Connector {
    pub(super) fn new(trust: &Trust) -> Result<Self, OpenError> {
        let roots = match trust {
            Trust::Unprotected => return Ok(Self::Plain),
            Trust::Machine => of_machine()?,
            Trust::File(path) => of_file(path)?,
        };
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| refused(error.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Self::Tls(MakeRustlsConnect::new(config)))
    }
}

fn refused(reason: String) -> OpenError {
    OpenError::Certificates { reason }
}

fn of_machine() -> Result<RootCertStore, OpenError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A machine may hold single certificates that cannot be read; what can be read is enough.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(refused(
            "this machine trusts no certificate authority; install its ca-certificates or name a file with sslrootcert"
                .to_owned(),
        ));
    }
    Ok(roots)
}

fn of_file(path: &Path) -> Result<RootCertStore, OpenError> {
    let unreadable = |reason: String| refused(format!("sslrootcert {path:?}: {reason}"));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
