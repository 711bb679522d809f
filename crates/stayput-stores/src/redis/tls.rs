//! TLS to a server: rustls over aws-lc-rs, with the system's authorities or those of a file. No way to trust everybody.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redis::{ErrorKind, RedisResult};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::Trust;

/// How TLS connections are made.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Reads the certificates to trust, once: connections made later need no file.
    pub(super) fn new(trust: &Trust) -> io::Result<Self> {
        let roots = match trust {
            Trust::System => system()?,
            Trust::Authorities(file) => authorities(file)?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config).into()))
    }

    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> RedisResult<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await.map_err(|error| match certificate_error(&error) {
            Some(detail) => (ErrorKind::InvalidClientConfig, UNTRUSTED, detail).into(),
            None => error.into(),
        })
    }
}

fn certificate_error(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(_) => Some(error.to_string()),
        _ => None,
    }
}

const UNTRUSTED: &str =
    "its certificate is not trusted; name the file of its authority by ?ca=, or the host as it does";

fn system() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(io::Error::other("the system has no certificates of authorities; name a file by ?ca="));
    }
    Ok(roots)
}

fn authorities(file: &Path) -> io::Result<RootCertStore> {
    let wrong = |cause: String| io::Error::other(format!("{}: {cause}", file.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(roots) }
}
