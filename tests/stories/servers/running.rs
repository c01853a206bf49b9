//! A running authorization server, and what a story needs of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
};

use hallpass::{
    AccessToken, TokenError,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost, Endpoint,
        HttpTransport, MutualTls, SourceBuilder,
    },
    jwt::{Algorithm, AssertionSettings, SigningKey},
    secrets::FileSecret,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::description::Description;
use crate::{
    peer::{NOT_INSTALLED, directory, skipped},
    support::{fetch, secret},
};

/// A server's behaviour that is not the one of the story.
pub(crate) struct Seen(pub(crate) String);

impl From<TokenError> for Seen {
    fn from(error: TokenError) -> Self {
        Self(format!("{:?}: {error}", error.kind()))
    }
}

pub(crate) type Outcome = Result<(), Seen>;

/// An authorization server on loopback, with TLS. It ends when its standard input closes, so it does not outlive a test.
pub(crate) struct Running {
    description: &'static Description,
    ready: Value,
    child: Mutex<Option<Child>>,
}

impl Running {
    /// Starts the server, or prints why it is skipped. In CI a skip is a failure.
    pub(crate) async fn start(description: &'static Description) -> Option<Self> {
        Self::start_with(description, &[]).await
    }

    async fn start_with(description: &'static Description, more: &[&str]) -> Option<Self> {
        let directory = directory(description.directory);
        let [program, arguments @ ..] = description.command else {
            unreachable!("a command has a program");
        };
        if description
            .installed
            .iter()
            .any(|path| !directory.join(path).exists())
        {
            return skipped(description.name, NOT_INSTALLED);
        }
        // A relative program is one of the directory.
        let program = match directory.join(program) {
            local if local.exists() => local,
            _ => PathBuf::from(program),
        };
        let child = Command::new(program)
            .args(arguments)
            .args(["--ttl", "600"])
            .args(more)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            return skipped(description.name, description.needs);
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(ready) = lines.next_line().await.unwrap() else {
            // The exit status of a missing program, which has said so.
            assert_eq!(child.wait().await.unwrap().code(), Some(69));
            return skipped(description.name, description.needs);
        };
        // Its later lines must be read, or the pipe fills.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self {
            description,
            ready: serde_json::from_str(&ready).unwrap(),
            child: Mutex::new(Some(child)),
        })
    }

    /// Starts another one of the same kind with one more argument.
    pub(crate) async fn another(&self, argument: &str) -> Self {
        let started = Self::start_with(self.description, &[argument]).await;
        started.expect("it is installed")
    }

    /// Ends the server and waits for it.
    pub(crate) async fn stop(&self) {
        let child = self.child.lock().unwrap().take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            child.wait().await.unwrap();
        }
    }

    fn text(&self, names: &[&str]) -> &str {
        let mut found = names.iter().filter_map(|name| self.ready[*name].as_str());
        found
            .next()
            .unwrap_or_else(|| panic!("{names:?} in {}", self.ready))
    }

    pub(crate) fn issuer(&self) -> &str {
        self.text(&["tls_issuer", "issuer"])
    }

    pub(crate) fn token_endpoint(&self) -> &str {
        self.text(&["tls_token_endpoint", "token_endpoint"])
    }

    /// Returns the resource for which `api:read` is allowed.
    pub(crate) fn resource(&self) -> &str {
        self.ready["resources"][0].as_str().unwrap()
    }

    /// Returns the form that stands for a sign-in and yields a refresh token.
    pub(crate) fn sign_in(&self) -> &str {
        self.ready["sign_in"]
            .as_str()
            .unwrap_or("grant_type=urn:peer:sign-in")
    }

    /// Returns the name under which this server has the client of this role.
    pub(crate) fn id(&self, role: &'static str) -> &'static str {
        let mut renamed = self.description.clients.iter();
        renamed
            .find(|(of, _)| *of == role)
            .map_or(role, |(_, id)| id)
    }

    pub(crate) fn secret(&self, role: &'static str) -> &str {
        let id = self.id(role);
        let mut clients = self.ready["clients"].as_array().unwrap().iter();
        let client = clients.find(|client| client["client_id"] == id);
        client.map_or("unregistered", |client| {
            client["client_secret"].as_str().unwrap()
        })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(self.text(&["keys"])).join(name)
    }

    pub(crate) fn key(&self, name: &str) -> SigningKey {
        let pem = fs::read_to_string(self.file(&format!("{name}.pem"))).unwrap();
        let key = SigningKey::from_pem(&pem).unwrap().with_key_id(name);
        match name {
            "ps256" => key.with_algorithm(Algorithm::Ps256).unwrap(),
            _ => key,
        }
    }

    pub(crate) fn settings(&self) -> AssertionSettings {
        let settings = AssertionSettings::new(self.issuer()).unwrap();
        if self.description.takes_issuer_audience {
            settings
        } else {
            settings.danger_token_endpoint_as_audience()
        }
    }

    pub(crate) fn certificate(&self, name: &str) -> MutualTls {
        let of = |ending| FileSecret::new(self.file(&format!("{name}.{ending}")));
        MutualTls::from_pair(of("crt"), of("key"))
    }

    pub(crate) fn basic(&self, role: &'static str) -> ClientSecretBasic {
        let secret = secret(self.secret(role));
        if self.description.decodes_basic {
            ClientSecretBasic::new(secret)
        } else {
            ClientSecretBasic::raw(secret)
        }
    }

    pub(crate) fn post(&self, role: &'static str) -> ClientSecretPost {
        ClientSecretPost::new(secret(self.secret(role)))
    }

    pub(crate) fn transport(&self) -> HttpTransport {
        HttpTransport::builder()
            .add_root_certificates_pem(fs::read(self.file("ca.crt")).unwrap())
            .only_added_root_certificates()
            .build()
            .unwrap()
    }

    /// Returns the server's endpoints, from its metadata at the location that it has.
    pub(crate) fn discovered(&self) -> Endpoint {
        let found = Endpoint::discover(self.issuer()).transport(self.transport());
        let found = if self.description.openid_location {
            found.openid_location()
        } else {
            found
        };
        found.build().unwrap()
    }

    /// Creates a source of tokens without scopes.
    pub(crate) fn source_at(
        &self,
        endpoint: impl Into<Endpoint>,
        role: &'static str,
        authentication: impl ClientAuthentication + 'static,
    ) -> SourceBuilder<ClientCredentials> {
        let source = ClientCredentials::builder(endpoint, self.id(role), authentication);
        let source = source.transport(self.transport());
        match self.description.token_type_name {
            Some(name) => source.token_type_name(name),
            None => source,
        }
    }

    pub(crate) fn source(
        &self,
        role: &'static str,
        authentication: impl ClientAuthentication + 'static,
    ) -> SourceBuilder<ClientCredentials> {
        self.source_at(self.token_endpoint(), role, authentication)
            .scope("api:read")
    }

    /// Creates a source that expects the names of RFC 6749 for the types of tokens.
    pub(crate) fn standard(&self, role: &'static str) -> SourceBuilder<ClientCredentials> {
        let url = self.token_endpoint();
        ClientCredentials::builder(url, self.id(role), self.basic(role))
            .transport(self.transport())
            .scope("api:read")
    }

    pub(crate) async fn token(
        &self,
        role: &'static str,
        authentication: impl ClientAuthentication + 'static,
    ) -> Result<AccessToken, TokenError> {
        fetch(self.source(role, authentication)).await
    }
}
