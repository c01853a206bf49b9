//! A server with a client for each tenant, and a configuration file with a profile for each.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, TokenSourceExt as _};
use hallpass_profiles::{Profiles, ProfilesBuilder, Tenants, TenantsBuilder};
use hallpass_testkit::{AuthorizationServer, Client};
use tempfile::TempDir;

/// The clients `a`, `b` and so on, whose secrets are in files.
pub(crate) struct Setup {
    pub(crate) server: AuthorizationServer,
    directory: TempDir,
}

impl Setup {
    pub(crate) async fn start(names: &[&str]) -> Self {
        let mut server = AuthorizationServer::builder();
        for name in names {
            server = server.client(Client::new(*name, secret(name)).scopes("read write"));
        }
        let setup = Self {
            server: server.start().await,
            directory: TempDir::new().unwrap(),
        };
        for name in names {
            setup.write_secret(name, &secret(name));
        }
        setup.write(&setup.profiles(names));
        setup
    }

    /// Writes the configuration file.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("tenants.toml")
    }

    pub(crate) fn write_secret(&self, name: &str, secret: &str) {
        let path = self.directory.path().join(name);
        let next = path.with_extension("next");
        fs::write(&next, secret).unwrap();
        fs::rename(&next, path).unwrap();
    }

    pub(crate) fn profiles(&self, names: &[&str]) -> String {
        let profiles = names.iter().map(|name| self.profile(name, ""));
        profiles.collect()
    }

    /// Returns a profile, with further settings.
    pub(crate) fn profile(&self, name: &str, more: &str) -> String {
        let secret = self.directory.path().join(name);
        profile(&self.server.token_endpoint(), name, &secret, more)
    }

    pub(crate) fn load(&self) -> Tenants {
        self.load_with(Tenants::builder())
    }

    pub(crate) fn load_with(&self, builder: TenantsBuilder) -> Tenants {
        builder.load(self.file()).unwrap()
    }

    pub(crate) fn file(&self) -> ProfilesBuilder {
        Profiles::builder().file(self.path())
    }

    /// Returns the clients that requested tokens, with the statuses of the responses.
    pub(crate) fn requests(&self) -> Vec<(String, u16)> {
        let requests = self.server.token_requests().into_iter();
        let requests = requests.map(|request| (request.client_id.unwrap(), request.status));
        requests.collect()
    }
}

pub(crate) fn profile(endpoint: &str, name: &str, secret: &Path, more: &str) -> String {
    let mut text = String::new();
    writeln!(text, "[profile.{name}]\ntoken_endpoint = '{endpoint}'").unwrap();
    writeln!(text, "client_id = '{name}'").unwrap();
    writeln!(text, "client_secret = 'file:{}'", secret.display()).unwrap();
    writeln!(text, "danger_allow_http_on_loopback = true\n{more}").unwrap();
    text
}

pub(crate) fn secret(name: &str) -> String {
    format!("secret-of-{name}")
}

pub(crate) async fn token(source: &impl TokenSource) -> Result<AccessToken, TokenError> {
    source.access_token(&TokenRequest::default()).await
}
