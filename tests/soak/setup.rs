//! The files of the service and of the command: profiles, secrets, keys and certificates.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, pki_types::PrivateKeyDer},
};

use crate::{
    CLIENTS, COMMAND, MARKER,
    redis_server::RedisServer,
    scan::Scanner,
    server::{Credentials, ISSUER, World, locked},
    tls_server::{client_verifier, server_config},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// The directory, and the authorities of the certificates.
pub(crate) struct Setup {
    folder: TempDir,
    /// The authority of the server's certificate.
    server: Mutex<Authority>,
    /// The authority of client certificates.
    clients: Authority,
    scanner: Arc<Scanner>,
    serial: Mutex<u32>,
}

impl Setup {
    pub(crate) fn new(scanner: Arc<Scanner>) -> Self {
        let folder = TempDir::new().unwrap();
        let setup = Self {
            folder,
            server: Mutex::new(authority()),
            clients: authority(),
            scanner,
            serial: Mutex::new(0),
        };
        setup.write("ca.pem", &locked(&setup.server).as_ref().pem());
        setup
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a file by a rename.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        let replaced = fs::write(&new, text).and_then(|()| fs::rename(new, self.path(name)));
        replaced.unwrap();
    }

    /// Returns the server's TLS settings, with a new certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.clients.as_ref().der().clone()).unwrap();
        let verifier = client_verifier(roots).allow_unauthenticated();
        let (certificate, key) = issue(&locked(&self.server), "localhost");
        let config = server_config()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            );
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// Replaces the server's certificate authority. Clients trust both until `end_authority`.
    pub(crate) fn replace_authority(&self) {
        let new = authority();
        let mut server = locked(&self.server);
        let both = server.as_ref().pem() + &new.as_ref().pem();
        *server = new;
        self.write("ca.pem", &both);
    }

    pub(crate) fn end_authority(&self) {
        let pem = locked(&self.server).as_ref().pem();
        self.write("ca.pem", &pem);
    }

    pub(crate) fn rotate_server_certificate(&self, world: &World) {
        *world.tls.write().unwrap_or_else(PoisonError::into_inner) = self.acceptor();
    }

    /// Registers all clients, and writes the configuration with its secrets.
    pub(crate) fn configure(&self, world: &World, issuer: u16, redis: Option<&RedisServer>) {
        let clients = CLIENTS.iter().chain([&COMMAND]);
        let text: String = clients
            .map(|client| {
                self.rotate(world, client, false)();
                self.profile(client, issuer, redis)
            })
            .collect();
        if let Some(redis) = redis {
            self.write("redis-password", redis.text("password"));
            for password in ["password", "default_password"] {
                self.scanner.add(redis.text(password));
            }
            self.write("redis-keys", &BASE64_STANDARD.encode(seed("redis", 0)));
        }
        self.write("config.toml", &text);
    }

    fn profile(&self, client: &str, issuer: u16, redis: Option<&RedisServer>) -> String {
        let [own, authorities, password, keys] = [client, "ca.pem", "redis-password", "redis-keys"]
            .map(|name| self.path(name).display().to_string());
        let credential = match client {
            "key" => format!("private_key = 'file:{own}'\nassertion_audience = '{ISSUER}'"),
            "certificate" => format!("certificate = 'file:{own}'\nbound_tokens = false"),
            "post" => format!(
                "client_secret = 'file:{own}'\nauthentication = 'client_secret_post'\nproxy = 'system'"
            ),
            _ => format!("client_secret = 'file:{own}'"),
        };
        let store = redis.map(|redis| {
            let (port, user) = (redis.number("port"), redis.text("user"));
            format!(
                "[profile.{client}.redis]\nurl = 'redis://127.0.0.1:{port}'\nusername = '{user}'\n\
                 password = 'file:{password}'\nkeys = 'file:{keys}'\ntimeout = '1s'\n"
            )
        });
        format!(
            "[profile.{client}]\ntoken_endpoint = 'https://localhost:{issuer}/token'\nclient_id = '{client}'\n\
             {credential}\nca_file = '{authorities}'\ntimeout = '3s'\nconnect_timeout = '1s'\n\
             danger_allow_http_on_loopback = true\n{}",
            store.unwrap_or_default()
        )
    }

    /// Registers a new credential of a client; the file changes when the returned function is called. The server accepts
    /// the previous credential until the next rotation, unless this is a hard one.
    pub(crate) fn rotate(
        &self,
        world: &World,
        client: &'static str,
        hard: bool,
    ) -> impl FnOnce() + '_ {
        let serial = {
            let mut serial = locked(&self.serial);
            *serial += 1;
            *serial
        };
        let mut clients = locked(&world.clients);
        let known: &mut Credentials = clients.entry(client.to_owned()).or_default();
        let text = match client {
            "key" => {
                let seed = seed("key", serial);
                replace(&mut known.keys, seed, hard);
                jwk(&seed)
            }
            "certificate" => {
                let (certificate, key) = issue(&self.clients, "client");
                replace(&mut known.certificates, certificate.der().clone(), hard);
                let key = key.serialize_pem();
                // The lines of the key itself, of which the first has its type only.
                let lines = key.lines().filter(|line| !line.starts_with("-----"));
                lines.skip(1).for_each(|line| self.scanner.add(line));
                certificate.pem() + &key
            }
            _ => {
                let secret = format!("{MARKER}-secret-{client}-{serial}");
                replace(&mut known.secrets, secret.clone(), hard);
                secret
            }
        };
        move || self.write(client, &text)
    }
}

/// Adds a credential; the previous one remains unless this is a hard rotation.
fn replace<T>(known: &mut Vec<T>, new: T, hard: bool) {
    let from = known.len().saturating_sub(usize::from(!hard));
    known.drain(..from);
    known.push(new);
}

/// Returns 32 bytes that begin with the marker, which a search finds in base64 as well.
fn seed(name: &str, serial: u32) -> [u8; 32] {
    let prefix = format!("{MARKER}-{name}-");
    let width = 32 - prefix.len();
    format!("{prefix}{serial:0width$}")
        .as_bytes()
        .try_into()
        .unwrap()
}

fn jwk(seed: &[u8; 32]) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "d": encode(seed),
        "x": encode(pair.public_key().as_ref()),
    });
    jwk.to_string()
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}
