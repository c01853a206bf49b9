//! Profiles with a provider of another crate.

use std::{
    fmt, fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SecretSource, SystemClock, TokenError, TokenRequest,
    TokenSource,
};
use hallpass_profiles::{ProfileError, Profiles, ProfilesBuilder, ProviderSettings, Selection};
use hallpass_testkit::{
    AuthorizationServer, Client, leak,
    raw::{self, RawServer},
};
use tempfile::TempDir;

const SECRET: &str = "CANARY-agent-password";

/// The function of a provider whose token endpoint is one of its own settings.
fn acme(settings: &mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError> {
    let endpoint = settings.required_text("url")?;
    Ok(Arc::new(settings.client_credentials(endpoint)?.build()?))
}

/// A source with a protocol of its own: the text of a token is its request and the agent's password.
struct Agent {
    password: Arc<dyn SecretSource>,
    requests: Arc<Mutex<Vec<TokenRequest>>>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenSource for Agent {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let requested_at = SystemClock.moment();
        let password = self.password.secret().await?;
        self.requests.lock().unwrap().push(request.clone());
        let text = format!("token-for-{}", password.expose());
        Ok(AccessToken::bearer(
            &text,
            requested_at,
            Duration::from_secs(60),
        )?)
    }
}

/// Writes a file with these profiles, and the agent's password beside it. `DIR` is the directory.
struct Directory(TempDir);

impl Directory {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        fs::write(path.join("secret"), "s3cr3t").unwrap();
        fs::write(path.join("password"), SECRET).unwrap();
        let text = text.replace("DIR", &path.display().to_string());
        fs::write(path.join("config.toml"), text).unwrap();
        Self(directory)
    }

    fn builder(&self) -> ProfilesBuilder {
        Profiles::builder().file(self.0.path().join("config.toml"))
    }

    /// Returns the profiles with the providers `acme` and `agent`.
    fn load(&self) -> Profiles {
        let builder = self.builder().provider("acme", acme);
        builder
            .provider("agent", agent(&Arc::default()))
            .load()
            .unwrap()
    }

    /// Returns the error of a token request to the profile `p`.
    async fn error(&self) -> TokenError {
        let tokens = self.load().source("p").unwrap();
        tokens.token(&TokenRequest::default()).await.unwrap_err()
    }
}

/// Returns the function of the agent's provider.
fn agent(
    requests: &Arc<Mutex<Vec<TokenRequest>>>,
) -> impl Fn(&mut ProviderSettings<'_>) -> Result<Arc<dyn TokenSource>, ProfileError> + Send + Sync + use<>
{
    let requests = requests.clone();
    move |settings| {
        assert_eq!(settings.provider(), "agent");
        assert_eq!(settings.texts("zones")?, ["a", "b"]);
        assert_eq!(settings.boolean("strict")?, Some(true));
        assert_eq!(settings.number("shards")?, Some(4));
        assert_eq!(settings.duration("deadline")?, Some(Duration::from_secs(2)));
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("shards") && !shown.contains("DIR"),
            "{shown}"
        );
        let password = settings.secret("password")?;
        Ok(Arc::new(Agent {
            password: password.ok_or_else(|| settings.missing("password"))?,
            requests: requests.clone(),
        }))
    }
}

const AGENT: &str = "[profile.p]\nprovider = 'agent'\nscope = 'a b'\naudience = 'https://api.example'\n\
    [profile.p.provider_settings]\nzones = ['a', 'b']\nstrict = true\nshards = 4\ndeadline = '2s'\n";

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new("orders", "s3cr3t").scopes("orders.read orders.write"))
        .start()
        .await
}

fn of_acme(server: &AuthorizationServer) -> Directory {
    Directory::new(&format!(
        "[profile.p]\nprovider = 'acme'\nclient_id = 'orders'\nclient_secret = 'file:DIR/secret'\n\
         scope = 'orders.read'\ndanger_allow_http_on_loopback = true\n\
         [profile.p.provider_settings]\nurl = '{}'\n",
        server.token_endpoint()
    ))
}

#[tokio::test]
async fn a_registered_provider_fetches_tokens() {
    let server = server().await;
    let directory = of_acme(&server);
    let tokens = directory.load().source("p").unwrap();
    let token = tokens.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read");
    let again = tokens.token(&TokenRequest::default()).await.unwrap();
    assert!(again.is_same(&token));
    assert_eq!(server.token_request_count(), 1);
    let other = TokenRequest::new().with_scopes("orders.write".parse().unwrap());
    let token = tokens.token(&other).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.write");
}

#[tokio::test]
async fn a_provider_gets_requests_with_the_profiles_values() {
    let directory = Directory::new(&format!("{AGENT}password = 'file:DIR/password'\n"));
    let requests = Arc::default();
    let builder = directory.builder().provider("agent", agent(&requests));
    let tokens = builder.load().unwrap().source("p").unwrap();
    let request = TokenRequest::new().with_scopes("c".parse().unwrap());
    let token = tokens.token(&request).await.unwrap();
    assert!(token.expose().ends_with(SECRET));
    tokens.token(&TokenRequest::default()).await.unwrap();
    let audience = TokenRequest::new()
        .with_audience("https://api.example")
        .unwrap();
    let expected = ["c", "a b"].map(|scopes| audience.clone().with_scopes(scopes.parse().unwrap()));
    assert_eq!(*requests.lock().unwrap(), expected);
}

#[tokio::test]
async fn required_scopes_are_checked_for_each_provider() {
    let directory = Directory::new(&format!(
        "{}require_granted_scopes = true\n{}password = 'file:DIR/password'\n",
        &AGENT[..AGENT.find("[profile.p.").unwrap()],
        &AGENT[AGENT.find("[profile.p.").unwrap()..]
    ));
    assert_eq!(directory.error().await.kind(), ErrorKind::RequestRefused);
}

#[tokio::test]
async fn registered_providers_share_the_transport() {
    let answer = r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#;
    let server = RawServer::always(raw::json(200, answer)).await;
    let profile = |name: &str| {
        format!(
            "[profile.{name}]\nprovider = 'acme'\nclient_id = '{name}'\nclient_secret = 'file:DIR/secret'\n\
             danger_allow_http_on_loopback = true\nprovider_settings = {{ url = '{}' }}\n",
            server.url("/token"),
        )
    };
    let directory = Directory::new(&(profile("p") + &profile("q")));
    let profiles = directory.load();
    let sources = ["p", "q"].map(|name| profiles.source(name).unwrap());
    for tokens in &sources {
        tokens.token(&TokenRequest::default()).await.unwrap();
    }
    assert_eq!((server.request_count(), server.connection_count()), (2, 1));
}

// covers: F-99
#[tokio::test]
async fn settings_that_a_provider_does_not_know_are_errors() {
    let own = |line: &str| format!("{AGENT}password = 'file:DIR/password'\n{line}\n");
    let profile = |line: &str| own("").replace("scope =", &format!("{line}\nscope ="));
    for (text, says) in [
        (
            own("pasword = 'CANARY'"),
            "line 11: unknown setting `pasword` in `provider_settings`; a similar name exists: `password`",
        ),
        (
            own("zzz = 'CANARY'"),
            "settings of the provider `agent`: `deadline`, `password`, `shards`, `strict`, `zones`",
        ),
        (
            own("").replace('4', "'CANARY'"),
            "line 8: `provider_settings.shards`: expected a number",
        ),
        (
            own("").replace("file:DIR/password", "CANARY"),
            "line 10: `provider_settings.password`: expected a reference",
        ),
        (
            AGENT.to_owned(),
            "line 5: `provider_settings.password`: the provider `agent` requires it",
        ),
        (
            profile("client_secret = 'env:CANARY'"),
            "`client_secret` has no effect: the provider `agent` does not use it",
        ),
        (profile("timeout = 1"), "`timeout` has no effect"),
        (profile("client_id = 'CANARY'"), "`client_id` has no effect"),
        (
            profile("token_endpoint = 'https://CANARY.example'"),
            "`token_endpoint` has no effect",
        ),
        (
            "[profile.p]\nprovider = 'acme'\nprovider_settings = { url = 'https://CANARY.example' }\n".to_owned(),
            "the client's credential is not set",
        ),
        (
            "[profile.p]\nprovider = 'acme'\nclient_secret = 'env:CANARY'\nprovider_settings = { uri = 'CANARY' }\n".to_owned(),
            "the provider `acme` requires it; a similar name is set: `uri`",
        ),
        (
            "[profile.p]\nprovider = 'acme'\nclient_secret = 'env:CANARY'\n".to_owned(),
            "`provider_settings.url`: the provider `acme` requires it",
        ),
    ] {
        let error = Directory::new(&text).error().await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(says), "{shown}");
        leak::assert_clean(&shown, "CANARY");
    }
}

#[test]
fn names_of_providers_are_unique() {
    let directory = Directory::new("");
    for (name, says) in [
        ("auth0", "the provider `auth0` is built in"),
        ("camall", "is built in"),
        ("google", "is built in"),
        ("", "without a name"),
    ] {
        let error = directory.builder().provider(name, acme).load().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let twice = directory.builder().provider("acme", acme);
    let error = twice.provider("acme", acme).load().unwrap_err();
    assert!(error.message().contains("registered twice"), "{error}");
}

#[test]
fn an_unknown_provider_lists_the_registered_ones() {
    let hint = |provider: &str| {
        let text = format!("[profile.p]\nprovider = '{provider}'\nclient_id = 'x'\n");
        let error = Directory::new(&text).load().source("p").unwrap_err();
        error.hint().unwrap().to_owned()
    };
    assert!(hint("zzz").contains("`databricks-account`, `acme`, `agent`"));
    assert_eq!(hint("acm"), "a similar name exists: `acme`");
    // A program without the provider says the same.
    let directory = Directory::new(AGENT);
    let error = directory.builder().load().unwrap().source("p").unwrap_err();
    assert!(error.message().contains("unknown provider"), "{error}");
}

#[test]
fn settings_of_a_provider_need_a_registered_one() {
    let text = "[profile.p]\nprovider = 'camall'\nclient_id = 'x'\nclient_secret = 'env:X'\n\
        provider_settings = { region = 'eu' }\n";
    let error = Directory::new(text).load().source("p").unwrap_err();
    let says = "`provider_settings` has no effect";
    assert!(error.message().contains(says), "{error}");
}

/// The secret of a profile is sent to the server of that profile alone.
#[tokio::test]
async fn a_provider_gets_no_secret_of_another_source() {
    let server = server().await;
    let selection = |provider: &str| Selection::new().profile("p").provider(provider);
    let profiles = of_acme(&server).load();
    let error = profiles.settings(&selection("agent")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("`--provider`") && error.contains("`client_secret` of the profile `p`"));
    // The provider's own settings are replaced with the server.
    let directory = Directory::new(&format!("{AGENT}password = 'file:DIR/password'\n"));
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let record = seen.clone();
    let builder = directory
        .builder()
        .provider("agent", agent(&Arc::default()));
    let builder = builder.provider("other", move |settings| {
        record
            .lock()
            .unwrap()
            .push(settings.secret("password")?.is_some());
        Err(ProfileError::new("the end of the test"))
    });
    let settings = builder.load().unwrap().settings(&selection("other"));
    let tokens = settings.unwrap().cache_builder().unwrap().build();
    let error = tokens.token(&TokenRequest::default()).await.unwrap_err();
    assert!(error.to_string().contains("the end of the test"), "{error}");
    assert_eq!(*seen.lock().unwrap(), [false]);
    assert_eq!(server.token_request_count(), 0);
}

// covers: F-100
#[tokio::test]
async fn debug_output_shows_no_setting_of_a_provider() {
    let text = format!("{AGENT}password = '{SECRET}'\n");
    let directory = Directory::new(&text);
    let profiles = directory.load();
    let settings = profiles.settings(&Selection::new().profile("p")).unwrap();
    let source = settings.cache_builder().unwrap().build();
    let shown = format!("{profiles:?} {settings:?} {source:?} {}", settings.host());
    assert!(
        shown.contains("agent") && shown.contains("shards"),
        "{shown}"
    );
    leak::assert_clean(&shown, SECRET);
    assert!(leak::find(&text, SECRET).is_some());
}

#[test]
fn settings_of_a_provider_separate_tokens() {
    let namespace = |text: &str| {
        let profiles = Directory::new(text).load();
        let settings = profiles.settings(&Selection::new().profile("p")).unwrap();
        settings.namespace()
    };
    let one = namespace(AGENT);
    assert_eq!(namespace(AGENT), one);
    for (part, other) in [
        ("shards = 4", "shards = 5"),
        ("'agent'", "'acme'"),
        ("'a', 'b'", "'a, b'"),
    ] {
        assert_ne!(namespace(&AGENT.replace(part, other)), one, "{other}");
    }
}
