//! TLS by rustls: always verified, against the system's authorities or the scenario's `ca`.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// What a connection needs for TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Shared by all connections, so that sessions are resumed.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must carry.
    pub name: ServerName<'static>,
}

/// For this host, HTTP/2 or HTTP/1.1, trusting the system's authorities and, when given, those of a PEM file.
///
/// # Errors
/// When the file cannot be read, holds no certificate, there is no authority at all, or the host cannot stand in a certificate.
pub fn client(host: &str, ca: Option<&Path>, http2: bool) -> Result<Tls, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let place = path.display();
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| format!("ca {place}: {e}"))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| format!("ca {place}: {e}"))?;
            roots.add(certificate).map_err(|e| format!("ca {place}: {e}"))?;
        }
        if roots.is_empty() {
            return Err(format!("ca {place}: no certificate in it; it must be a PEM file with BEGIN CERTIFICATE"));
        }
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("no certificate authorities on this machine: install the package ca-certificates, or name a PEM file with `ca` in [target]".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` cannot stand in a certificate"))?;
    Ok(Tls { config: Arc::new(config), name })
}
