//! Token requests with profiles, and what can be seen of them.

use std::{fs, path::Path, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use hallpass_jwt::{Algorithm, SigningKey};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::spawn_blocking, time::Instant};
use tokio_rustls::rustls::{RootCertStore, pki_types::PrivateKeyDer};

use super::{
    base::{Table, expand, host, text},
    rows,
    server::{Answer, PROXIED_HOST, Request, Server, token_of},
};
use crate::{
    ProfileError, ProfileSource, Profiles, ProviderSettings, Selection, Settings,
    environment::Variables,
};

/// The server, and the files that references name.
pub(super) struct World {
    pub(super) server: Server,
    directory: TempDir,
}

const SECRET: &str = "CANARY+secret/of the client, 32 bytes or more";

impl World {
    pub(super) async fn new() -> Self {
        let authority = {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let own = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), PROXIED_HOST.to_owned()];
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&own, &authority).unwrap();
        let own = PrivateKeyDer::try_from(own.serialize_der()).unwrap();
        let mut clients = RootCertStore::empty();
        clients.add(authority.as_ref().der().clone()).unwrap();
        let server = Server::start(certificate.der().clone(), own, clients).await;

        let (_, key) = SigningKey::generate_rsa(Algorithm::Rs256, 2_048).unwrap();
        let pair = KeyPair::from_pem(key.expose()).unwrap();
        let client = CertificateParams::new(["orders".to_owned()]).unwrap();
        let client = client.signed_by(&pair, &authority).unwrap().pem();
        let (_, dpop) = SigningKey::generate(Algorithm::Es256).unwrap();
        let directory = TempDir::new().unwrap();
        for (name, contents) in [
            ("authority.pem", authority.as_ref().pem()),
            ("secret", SECRET.to_owned()),
            ("key.pem", key.expose().to_owned()),
            ("identity.pem", format!("{client}{}", key.expose())),
            ("certificate.pem", client),
            ("dpop.pem", dpop.expose().to_owned()),
            ("header", "CANARY-header".to_owned()),
            ("password", "CANARY-password".to_owned()),
            ("sentinel", "CANARY-sentinel".to_owned()),
            ("keys", BASE64_STANDARD.encode([7; 32])),
        ] {
            fs::write(directory.path().join(name), contents).unwrap();
        }
        Self { server, directory }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Replaces the names of addresses and files in the value of a setting.
    pub(super) fn expand(&self, value: &str, run: u32, table: &Table) -> String {
        let directory = self.directory.path().display().to_string();
        expand(value, table, run, &directory, &self.server)
    }

    /// Writes a file with these profiles and reads it.
    pub(super) fn load<'a>(
        &self,
        tables: impl IntoIterator<Item = (u32, &'a Table)>,
        variables: Variables,
    ) -> Profiles {
        let directory = self.directory.path().display().to_string();
        let tables = tables.into_iter();
        let texts = tables.map(|(run, table)| text(table, run, &directory, &self.server));
        let path = self.directory.path().join("config.toml");
        fs::write(&path, texts.collect::<String>()).unwrap();
        let profiles = Profiles::builder().file(path).provider("acme", acme);
        profiles.load_with(variables).unwrap()
    }

    /// Requests a token with these settings, which are those of the profile of this run.
    pub(super) async fn run(
        &self,
        profiles: &Profiles,
        selection: &Selection,
        run: u32,
        table: &Table,
        answer: Answer,
    ) -> Result<Run, ProfileError> {
        self.write_assertion(&format!("https://{}/{run}", host(table, &self.server)));
        self.server.set_answer(run, answer);
        self.server.take_silent();
        self.server.take_redis();
        let settings = Arc::new(profiles.settings(selection)?);
        let source = profiles.source_of(settings.clone())?;
        // A command takes time of the real clock: the paused one waits for it, until the server is reached.
        let is_started = table.values().any(|value| value.contains("'command:cat"));
        let held = is_started.then(|| self.server.hold());
        let held = held.map(|reached| spawn_blocking(move || reached.recv()));
        let started = Instant::now();
        let token = source.token(&TokenRequest::default()).await;
        let ended = Instant::now();
        self.server.release();
        if let Some(held) = held {
            let _ = held.await.unwrap();
        }
        Ok(Run {
            settings,
            requests: self.server.requests(run),
            silent: self.server.take_silent(),
            redis: self.server.take_redis(),
            is_issued: token
                .as_ref()
                .is_ok_and(|token| token.expose() == token_of(run)),
            token,
            started,
            ended,
            _source: source,
        })
    }

    /// Writes an assertion for this audience, which is a SPIFFE JWT-SVID too.
    fn write_assertion(&self, audience: &str) {
        let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(json!({ "alg": "ES256" }));
        let claims = encode(json!({
            "sub": "spiffe://example/orders",
            "aud": [audience],
            "exp": 9_999_999_999_u64,
        }));
        let assertion = format!("{header}.{claims}.CANARY-signature");
        fs::write(self.path("assertion"), assertion).unwrap();
    }

    /// Returns the secrets, none of which an error may show.
    pub(super) fn leaks(&self, shown: &str) -> bool {
        let key = fs::read_to_string(Path::new(&self.path("key.pem"))).unwrap();
        let line = key.lines().nth(1).unwrap();
        shown.contains("CANARY") || shown.contains(line)
    }
}

/// A provider that uses all settings of the profile, and one of its own.
fn acme(settings: &mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError> {
    let region = settings.required_text("region")?;
    let endpoint = settings.endpoint()?;
    let endpoint = endpoint.ok_or_else(|| ProfileError::new("`token_endpoint` is not set"))?;
    let source = settings.client_credentials(endpoint)?;
    Ok(Arc::new(source.parameter("region", region).build()?))
}

/// A token request, and all that can be seen of it.
pub(super) struct Run {
    settings: Arc<Settings>,
    requests: Vec<Request>,
    silent: Vec<Instant>,
    /// The commands to Redis.
    redis: String,
    is_issued: bool,
    token: Result<AccessToken, TokenError>,
    started: Instant,
    ended: Instant,
    /// Held, so that later runs share its transport.
    _source: Arc<hallpass_cache::CachedTokenSource<ProfileSource>>,
}

impl Run {
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn token(&self) -> Option<&AccessToken> {
        self.token.as_ref().ok()
    }

    pub(super) fn is_issued(&self) -> bool {
        self.is_issued
    }

    /// Returns true if all of these are in the commands to Redis.
    pub(super) fn redis_received(&self, texts: &[&str]) -> bool {
        texts.iter().all(|text| self.redis.contains(text))
    }

    /// Returns the error's text, or an empty one.
    pub(super) fn error(&self) -> String {
        let error = self.token.as_ref().err();
        error
            .map(|error| format!("{error}; {}", error.hint().unwrap_or_default()))
            .unwrap_or_default()
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.token().map(AccessToken::lifetime).unwrap_or_default()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.ended - self.started
    }

    /// Returns the time between two attempts to connect to the silent port, or until the end.
    pub(super) fn silence(&self) -> Duration {
        let first = self.silent.first().copied().unwrap_or(self.ended);
        self.silent.get(1).copied().unwrap_or(self.ended) - first
    }

    /// Returns the time between two token requests, or until the end.
    pub(super) fn gap(&self) -> Duration {
        let mut times = self.token_requests().map(|request| request.at);
        let first = times.next().unwrap_or(self.ended);
        times.next().unwrap_or(self.ended) - first
    }

    fn token_requests(&self) -> impl Iterator<Item = &Request> {
        let all = self.requests.iter();
        all.filter(|request| !request.path.contains("/.well-known/"))
    }

    /// Returns true if a request had this in its path.
    pub(super) fn requested(&self, part: &str) -> bool {
        self.requests
            .iter()
            .any(|request| request.path.contains(part))
    }

    /// Returns the last token request.
    pub(super) fn last(&self) -> Option<&Request> {
        self.token_requests().last()
    }

    pub(super) fn token_path(&self) -> &str {
        self.last().map_or("", |request| &request.path)
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.last()
            .is_some_and(|request| request.connection.has_certificate)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let last = self.last();
        last.and_then(|request| request.header(name))
            .unwrap_or_default()
    }

    /// Returns client identifier and secret of HTTP Basic authentication, or an empty text.
    pub(super) fn basic(&self) -> String {
        let encoded = self
            .header("authorization")
            .strip_prefix("Basic ")
            .unwrap_or_default();
        let decoded = BASE64_STANDARD.decode(encoded).unwrap_or_default();
        String::from_utf8(decoded).unwrap_or_default()
    }

    /// Returns a parameter of the last token request, which is a form or a JSON object; an empty text without it.
    pub(super) fn parameter(&self, name: &str) -> String {
        let body = self
            .last()
            .map(|request| &*request.body)
            .unwrap_or_default();
        if let Ok(object) = serde_json::from_slice::<Value>(body) {
            let value = &object[name];
            return match value {
                Value::Null => String::new(),
                Value::Array(_) | Value::Object(_) => value.to_string(),
                _ => rows::text(value).to_owned(),
            };
        }
        let mut pairs = url::form_urlencoded::parse(body);
        let found = pairs.find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }

    /// Returns a member of the header (0) or the claims (1) of the client's assertion.
    pub(super) fn jwt(&self, part: usize, name: &str) -> Value {
        let assertion = self.parameter("client_assertion");
        let part = assertion.split('.').nth(part).unwrap_or_default();
        let part = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        let object = serde_json::from_slice::<Value>(&part).unwrap_or_default();
        object[name].clone()
    }

    /// Returns the audience of the client's assertion.
    pub(super) fn audience(&self) -> String {
        rows::text(&self.jwt(1, "aud")).to_owned()
    }
}
