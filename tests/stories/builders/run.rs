//! The server and the client of all runs, and what can be seen of a run.

use std::{
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    AccessToken, Clock as _, TokenError,
    endpoint::{
        HttpTransport, HttpTransportBuilder, MutualTls, ResponseVerifier, UnverifiedResponse,
    },
    jwt::Dpop,
};
use hallpass_testkit::ManualClock;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use tokio_rustls::rustls::{RootCertStore, pki_types::PrivateKeyDer};

use super::server::{PROXIED_HOST, Request, Server};
use crate::support::secret;

/// The identifier of every client, which is a SPIFFE ID.
pub(super) const ID: &str = "spiffe://acme.example/orders";
/// One that needs `allow_utf8_credentials`.
pub(super) const UTF8_ID: &str = "örders";

/// The server, and what all clients share.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) transport: HttpTransport,
    /// One with another `User-Agent`.
    pub(super) other_transport: HttpTransport,
    pub(super) dpop: Dpop,
    pub(super) clock: ManualClock,
    pub(super) certificate: MutualTls,
    /// The authority of the server and of clients, as PEM.
    pub(super) authority: String,
    /// The certificate of a client and its key, as PEM.
    pub(super) identity: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new([PROXIED_HOST, "127.0.0.1"].map(str::to_owned)).unwrap();
        let certificate = params.signed_by(&own, &authority).unwrap();
        let mut clients = RootCertStore::empty();
        clients.add(authority.as_ref().der().clone()).unwrap();
        let own = PrivateKeyDer::try_from(own.serialize_der()).unwrap();
        let server = Server::start(certificate.der().clone(), own, clients).await;

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
        let certificate = params.signed_by(&key, &authority).unwrap();
        let pem = certificate.pem() + &key.serialize_pem();
        let clock = ManualClock::new();
        clock.set_wall(SystemTime::now());
        let transport = |builder: HttpTransportBuilder| {
            let builder = builder.proxy(format!("http://{}", server.address));
            let builder = builder.add_root_certificates_pem(authority.as_ref().pem());
            builder.only_added_root_certificates().build().unwrap()
        };
        Self {
            transport: transport(HttpTransport::builder()),
            other_transport: transport(HttpTransport::builder().user_agent("other/1.0")),
            dpop: Dpop::generate().unwrap(),
            clock,
            certificate: MutualTls::new(secret(&pem)),
            authority: authority.as_ref().pem(),
            identity: pem,
            server,
        }
    }
}

/// The addresses of a run.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) world: &'a World,
    pub(super) run: u32,
    pub(super) is_over_tls: bool,
}

impl Site<'_> {
    pub(super) fn origin(&self) -> String {
        let address = self.world.server.address;
        if self.is_over_tls {
            format!("https://{PROXIED_HOST}:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    pub(super) fn issuer(&self) -> String {
        format!("{}/{}", self.origin(), self.run)
    }

    /// Returns the site of another server of the same run.
    pub(super) fn next(&self) -> Self {
        let run = self.run + 1;
        Self { run, ..*self }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.issuer())
    }
}

/// The result of a call; no token for token management.
pub(super) type Outcome<'a> =
    Pin<Box<dyn Future<Output = Result<Option<AccessToken>, TokenError>> + 'a>>;

/// The requests of a call, and its token.
pub(super) struct Run {
    pub(super) is_management: bool,
    pub(super) is_over_tls: bool,
    pub(super) issuer: String,
    is_by_clock: bool,
    requests: Vec<Request>,
    token: Option<AccessToken>,
}

impl Run {
    /// Returns what is seen of a successful call.
    pub(super) fn new(site: &Site<'_>, token: Option<AccessToken>) -> Self {
        let server = &site.world.server;
        let requests = [site.run, site.run + 1].map(|run| server.requests(run));
        let at = token.as_ref().map(AccessToken::requested_at);
        Self {
            is_management: token.is_none(),
            is_over_tls: site.is_over_tls,
            issuer: site.issuer(),
            is_by_clock: at.is_some_and(|at| at.wall == site.world.clock.wall()),
            requests: requests.concat(),
            token,
        }
    }

    /// Returns true if the token is dated by the clock of the builder.
    pub(super) fn is_by_clock(&self) -> bool {
        self.is_management || self.is_by_clock
    }

    fn calls(&self) -> impl Iterator<Item = &Request> {
        let calls = self.requests.iter();
        calls.filter(|request| !request.path.contains("/.well-known/"))
    }

    /// Returns the first request for a token, or about one, of the builder's client.
    pub(super) fn first(&self) -> &Request {
        self.calls().next().unwrap()
    }

    pub(super) fn requested(&self, end: &str) -> bool {
        let mut paths = self.requests.iter().map(|request| &request.path);
        paths.any(|path| path.ends_with(end))
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.first().connection.has_certificate
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.first().header(name).unwrap_or_default()
    }

    /// Returns a header of the request for the metadata.
    pub(super) fn discovery_header(&self, name: &str) -> &str {
        let mut all = self.requests.iter();
        let found = all.find(|request| request.path.contains("/.well-known/"));
        found
            .and_then(|request| request.header(name))
            .unwrap_or_default()
    }

    /// Returns true if a request has a parameter with this in its value.
    pub(super) fn sent(&self, name: &str, part: &str) -> bool {
        self.calls()
            .any(|request| parameter(request, name).contains(part))
    }

    /// Returns the claims of a JWT that a request has as a parameter.
    pub(super) fn claims(&self, name: &str) -> Value {
        let jwt = parameter(self.first(), name);
        let claims = jwt.split('.').nth(1).unwrap_or_default();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
        serde_json::from_slice(&claims).unwrap_or_default()
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.token
            .as_ref()
            .map(AccessToken::lifetime)
            .unwrap_or_default()
    }
}

/// Returns a parameter of a request, which is a form or a JSON object; an empty text without it.
fn parameter(request: &Request, name: &str) -> String {
    if let Ok(object) = serde_json::from_slice::<Value>(&request.body) {
        let value = &object[name];
        return value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
    }
    let form = str::from_utf8(&request.body).unwrap();
    let form = reqwest::Url::parse(&format!("form:?{form}")).unwrap();
    let values = form.query_pairs().filter(|(known, _)| known == name);
    values.map(|(_, value)| value.into_owned()).collect()
}

/// A verifier that accepts every response as one of this server.
#[derive(Debug)]
pub(super) struct SignedBy(Value);

impl SignedBy {
    pub(super) fn of(site: &Site<'_>) -> Self {
        let now = site.world.clock.wall().duration_since(UNIX_EPOCH).unwrap();
        Self(json!({
            "iss": site.issuer(),
            "aud": [ID, UTF8_ID],
            "iat": now.as_secs(),
            "token_introspection": { "active": true },
        }))
    }
}

impl ResponseVerifier for SignedBy {
    fn verify(&self, _: &str, _: &str, _: &str) -> Result<Vec<u8>, UnverifiedResponse> {
        Ok(self.0.to_string().into_bytes())
    }
}
