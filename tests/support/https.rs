//! TLS on purpose: an authority of our own, certificates good and bad, and a server that chooses among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::load::{at_url, phase, say};
use super::server::{GOOD, Pipe, Server, Then};
use super::{Ran, Room, light};

pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

static AUTHORITIES: AtomicUsize = AtomicUsize::new(1);

pub fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    // Of two authorities with one name, a client would try the wrong one's key instead of knowing neither.
    let name = format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: rcgen::Issuer::new(params, key), pem }
}

impl Authority {
    pub fn server_config(&self, host: &str, expired: bool) -> Arc<rustls::ServerConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

/// The server's end of a connection with this certificate.
pub fn shake(config: Arc<rustls::ServerConfig>, stream: std::net::TcpStream) -> Option<Box<dyn Pipe>> {
    let session = rustls::ServerConnection::new(config).ok()?;
    Some(Box::new(rustls::StreamOwned::new(session, stream)))
}

/// A server whose n-th connection gets the certificate that `choose` says.
pub fn https(choose: impl Fn(usize) -> Arc<rustls::ServerConfig> + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start_over(
        move |stream| shake(choose(count.fetch_add(1, Ordering::Relaxed)), stream),
        |pipe, n| {
            // The first answers close, so that the next connection shakes hands anew.
            let _ = say(pipe, GOOD);
            if n < 3 { Then::Close } else { Then::KeepOpen }
        },
    )
}

/// Sixty requests in 1.5 s; `ca` is trusted, and `traffic` is more of that table.
pub fn run_https(server: &Server, ca: Option<&Authority>, traffic: &str) -> Ran {
    let room = Room::new();
    let _seat = light();
    let url = format!("https://{}/invocations", server.address);
    let mut text = at_url(&url, &format!("timeout = \"3s\"\n{traffic}"), &phase("all", "1500ms", 40.0));
    if let Some(ca) = ca {
        room.write("ca.pem", &ca.pem);
        text = text.replace("[traffic]", "ca = \"ca.pem\"\n[traffic]");
    }
    room.run(&text)
}
