//! The physical limit of links coming back: mutual TLS handshakes in memory, with nothing else done, on all cores.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    client::Resumption,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// Of each core.
const EACH: u32 = 200;
const NAME: &str = "berth.test";

/// Seconds that `count` handshakes take, both ends of each, on all cores of this computer.
pub fn seconds(count: u64) -> Result<f64> {
    let (client, server) = configs()?;
    let cores = thread::available_parallelism()?;
    let began = Instant::now();
    let threads: Vec<_> = (0..cores.get())
        .map(|_| {
            let (client, server) = (client.clone(), server.clone());
            thread::spawn(move || (0..EACH).try_for_each(|_| shake(&client, &server)))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a handshake panicked"))??;
    }
    let done = f64::from(EACH) * f64::from(u32::try_from(cores.get())?);
    Ok(began.elapsed().max(Duration::from_micros(1)).as_secs_f64() / done * f64::from(u32::try_from(count)?))
}

/// As the server's port for agents and the agents are set up: P-256, TLS 1.3, nothing resumed.
fn configs() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>)> {
    let authority_key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = params.self_signed(&authority_key)?;
    let issuer = Issuer::new(params, authority_key);
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let roots = Arc::new(roots);
    let end = |purpose| -> Result<_> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((vec![certificate.der().clone()], PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    };
    let (chain, key) = end(ExtendedKeyUsagePurpose::ServerAuth)?;
    let verifier = WebPkiClientVerifier::builder(roots.clone()).build()?;
    let mut server = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let (chain, key) = end(ExtendedKeyUsagePurpose::ClientAuth)?;
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
    client.resumption = Resumption::disabled();
    Ok((Arc::new(client), Arc::new(server)))
}

fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<()> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(NAME)?)?;
    let mut server = ServerConnection::new(server.clone())?;
    let mut wire = Vec::new();
    for _ in 0..8 {
        client.write_tls(&mut wire)?;
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent)?;
            server.process_new_packets()?;
        }
        wire.clear();
        server.write_tls(&mut wire)?;
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            client.read_tls(&mut sent)?;
            client.process_new_packets()?;
        }
        wire.clear();
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    ensure!(!server.is_handshaking(), "a handshake did not end");
    Ok(())
}
