//! The server and the credentials of all calls, and the record of a call.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    AccessToken, Clock, Moment, Proof, ProofRequest, Prover, Timestamp, TokenError, async_trait,
    endpoint::{
        HttpTransport, HttpTransportBuilder, MutualTls, ResponseVerifier, UnverifiedResponse,
    },
    jwt::Dpop,
};
use hallpass_testkit::ManualClock;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio_rustls::rustls::{RootCertStore, pki_types::PrivateKeyDer};

use super::{
    call_setup::ServerUrls,
    server::{PROXIED_HOST, Request, Server},
};
use crate::support::secret;

/// The identifier of every client, which is a SPIFFE ID.
pub(super) const ID: &str = "spiffe://acme.example/orders";
/// A client ID that needs `allow_utf8_credentials`.
pub(super) const UTF8_ID: &str = "örders";

/// The server, and what all clients share.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) transport: HttpTransport,
    /// A transport with another `User-Agent`.
    pub(super) other_transport: HttpTransport,
    pub(super) dpop: Dpop,
    /// A DPoP key other than `dpop`.
    pub(super) other_dpop: Dpop,
    pub(super) clock: ManualClock,
    /// Reads `clock`, and counts the reads.
    pub(super) client_clock: CountedClock,
    pub(super) discovery_clock: ManualClock,
    pub(super) other_discovery_clock: ManualClock,
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
            other_dpop: Dpop::generate().unwrap(),
            client_clock: CountedClock(clock.clone(), Arc::default()),
            discovery_clock: ManualClock::new(),
            other_discovery_clock: ManualClock::new(),
            clock,
            certificate: MutualTls::new(secret(&pem)),
            authority: authority.as_ref().pem(),
            identity: pem,
            server,
        }
    }
}

/// A clock that counts how often it is read.
#[derive(Clone, Debug)]
pub(super) struct CountedClock(ManualClock, Arc<AtomicUsize>);

impl Clock for CountedClock {
    fn now(&self) -> Timestamp {
        self.moment().timestamp
    }

    fn wall(&self) -> SystemTime {
        self.moment().wall
    }

    fn moment(&self) -> Moment {
        self.1.fetch_add(1, Relaxed);
        self.0.moment()
    }
}

/// A prover of another crate, whose algorithm FAPI 2.0 does not allow.
#[derive(Debug)]
pub(super) struct WeakProver;

#[async_trait]
impl Prover for WeakProver {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        Proof::new(format!("{header}.e30.c2ln"), SystemTime::UNIX_EPOCH)
    }
}

/// The result of a call; no token for token management.
pub(super) type Outcome<'a> =
    Pin<Box<dyn Future<Output = Result<Option<AccessToken>, TokenError>> + 'a>>;

/// The requests of a call, and its result.
pub(super) struct CallRecord {
    pub(super) issuer: String,
    /// The thumbprint of the key of `World::dpop`.
    pub(super) dpop_key: String,
    /// The error of the builder or of the call; an empty text if there is none.
    pub(super) error: String,
    /// The number of requests to the server of the client, without those for metadata.
    pub(super) attempts: usize,
    is_by_clock: bool,
    requests: Vec<Request>,
    token: Option<AccessToken>,
}

impl CallRecord {
    /// Returns what is seen of a call.
    pub(super) fn new(urls: &ServerUrls<'_>, result: Result<Option<AccessToken>, String>) -> Self {
        let world = urls.world;
        let [own, other] =
            [*urls, urls.second_server()].map(|urls| world.server.requests(urls.path_prefix));
        let reads = world.client_clock.1.swap(0, Relaxed);
        let (token, error) = match result {
            Ok(token) => (token, String::new()),
            Err(error) => (None, error),
        };
        let at = token.as_ref().map(AccessToken::requested_at);
        Self {
            issuer: urls.issuer(),
            dpop_key: world.dpop.thumbprint().to_owned(),
            error,
            attempts: own.iter().filter(|request| !is_discovery(request)).count(),
            is_by_clock: at.map_or(reads > 0, |at| at.wall == world.clock.wall()),
            requests: [own, other].concat(),
            token,
        }
    }

    /// Returns true if the builder's clock was used: the token was dated by it or, in a call without a token, it was
    /// read.
    pub(super) fn is_by_clock(&self) -> bool {
        self.is_by_clock
    }

    /// Returns the number of requests for the metadata.
    pub(super) fn discoveries(&self) -> usize {
        let requests = self.requests.iter();
        let metadata = requests
            .filter(|request| is_discovery(request) && !request.path.ends_with("/jwks.json"));
        metadata.count()
    }

    /// Returns true if the builder or the call failed with an error that has this text.
    pub(super) fn failed(&self, text: &str) -> bool {
        self.error.contains(text)
    }

    fn calls(&self) -> impl Iterator<Item = &Request> {
        let calls = self.requests.iter();
        calls.filter(|request| !is_discovery(request))
    }

    /// Returns the first request for a token, or about one, of the builder's client.
    pub(super) fn first(&self) -> Option<&Request> {
        self.calls().next()
    }

    pub(super) fn requested(&self, end: &str) -> bool {
        let mut paths = self.requests.iter().map(|request| &request.path);
        paths.any(|path| path.ends_with(end))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.first().and_then(|request| request.header(name));
        value.unwrap_or_default()
    }

    /// Returns a header of the request for the metadata.
    pub(super) fn discovery_header(&self, name: &str) -> &str {
        let mut all = self.requests.iter();
        let found = all.find(|request| is_discovery(request));
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
        let jwt = self.first().map(|request| parameter(request, name));
        part(&jwt.unwrap_or_default(), 1)
    }

    /// Returns the thumbprint (RFC 7638) of the key of the DPoP proof.
    pub(super) fn proof_key(&self) -> String {
        let jwk = &part(self.header("dpop"), 0)["jwk"];
        let jwk = format!(
            r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#,
            jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]
        );
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes()))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.token
            .as_ref()
            .map(AccessToken::lifetime)
            .unwrap_or_default()
    }
}

fn is_discovery(request: &Request) -> bool {
    request.path.contains("/.well-known/")
}

/// Returns a part of a JWT; null if there is none.
fn part(jwt: &str, number: usize) -> Value {
    let part = jwt.split('.').nth(number).unwrap_or_default();
    let part = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&part).unwrap_or_default()
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
pub(super) struct AcceptAllVerifier(Value);

impl AcceptAllVerifier {
    pub(super) fn new(urls: &ServerUrls<'_>) -> Self {
        let now = urls.world.clock.wall().duration_since(UNIX_EPOCH).unwrap();
        Self(json!({
            "iss": urls.issuer(),
            "aud": [ID, UTF8_ID],
            "iat": now.as_secs(),
            "token_introspection": { "active": true },
        }))
    }
}

impl ResponseVerifier for AcceptAllVerifier {
    fn verify(&self, _: &str, _: &str, _: &str) -> Result<Vec<u8>, UnverifiedResponse> {
        Ok(self.0.to_string().into_bytes())
    }
}
