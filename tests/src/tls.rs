//! A server's end of TLS in front of a real RabbitMQ, with certificates made for a test.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::OrPanic as _;

/// Who signs certificates.
pub struct Authority {
    /// Its own certificate, for clients that trust it.
    pub pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).or_panic("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let common = rcgen::DnType::CommonName;
        params.distinguished_name.push(common, name);
        let key = KeyPair::generate().or_panic("a key");
        let own = params.self_signed(&key).or_panic("an authority");
        Self {
            pem: own.pem(),
            der: own.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A server of `name`, whose certificate is valid to the end of `year`.
    pub fn server(&self, name: &str, year: i32) -> ServerConfig {
        let (certificate, key) = self.sign(name, year);
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .or_panic("a certificate")
    }

    /// The same, but requires a client certificate from this authority.
    pub fn exclusive_server(&self, name: &str, year: i32) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).or_panic("an authority");
        let clients = WebPkiClientVerifier::builder(roots.into()).build();
        let (certificate, key) = self.sign(name, year);
        ServerConfig::builder()
            .with_client_cert_verifier(clients.or_panic("its clients"))
            .with_single_cert(vec![certificate], key)
            .or_panic("a certificate")
    }

    fn sign(&self, name: &str, year: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new([name.to_owned()]).or_panic(name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().or_panic("a key");
        let signed = params.signed_by(&key, &self.issuer).or_panic(name);
        (signed.der().clone(), key.into())
    }
}

/// Takes TLS off.
pub struct TlsProxy {
    /// Where clients connect to.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsProxy {
    /// In front of `server`, which speaks no TLS itself.
    pub async fn start(server: SocketAddr, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_panic("a port");
        let addr = listener.local_addr().or_panic("its address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // An error means that one of the two is gone, or why the client refused.
                    if let Ok(mut client) = acceptor.accept(client).await
                        && let Ok(mut server) = TcpStream::connect(server).await
                    {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { addr, task }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
