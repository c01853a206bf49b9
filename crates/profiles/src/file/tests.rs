use std::time::Duration;

use toml::de::DeTable;

use super::*;
use crate::{document::KEYS, method::AuthenticationMethod, redis::REDIS_KEYS};

fn parse(text: &str, chosen: Option<&str>) -> Result<Option<(String, Layer)>, ProfileError> {
    let path = Path::new("config.toml");
    let document = Document {
        path,
        text,
        is_of_others: false,
    };
    let contents = FileContents {
        stamp: None,
        profiles: document.profiles()?,
        warnings: Vec::new(),
    };
    contents.profile(
        path,
        chosen.map(|name| Choice {
            name,
            variable: None,
        }),
    )
}

#[test]
fn a_profile_accepts_every_setting() {
    let text = r#"
        [profile.orders]
        provider = "auth0"
        variables = { domain = "acme.eu.auth0.com" }
        provider_settings = { region = "eu", shards = 4, strict = true, zones = ["a", "b"] }
        token_endpoint = "https://login.example/token"
        issuer = "https://login.example"
        openid_discovery = true
        client_id = "orders"
        private_key = "env:CLIENT_KEY"
        certificate = "env:CLIENT_CERTIFICATE"
        dpop = "env:DPOP_KEY"
        send_certificate_chain = true
        assertion_audience = "token_endpoint"
        assertion_typ = "JWT"
        security_profile = "fapi2"
        bound_tokens = false
        key_id = "2026"
        algorithm = "PS256"
        assertion = "env:ASSERTION"
        client_secret = "env:ORDERS_SECRET"
        authentication = "client_secret_basic_raw"
        scope = ["a", "b"]
        audience = "https://api.example"
        resource = ["https://a.example/", "https://b.example/"]
        authorization_details = '[{"type": "payment"}]'
        parameters = { tenant = "blue" }
        allowed_origins = ["https://api.example"]
        timeout = "10s"
        connect_timeout = 3
        command_timeout = "1m"
        user_agent = "orders/1.0"
        default_lifetime = "5m"
        max_lifetime = "15m"
        compressed_responses = true
        lenient_responses = true
        ca_file = "/etc/ca.pem"
        proxy = "http://proxy.example:3128"
        redis = { url = "rediss://redis.example", keys = "env:STORE_KEYS", username = "u", password = "env:P" }
        require_granted_scopes = true
        token_type_name = "Application Token"
        require_granted_authorization_details = true
        token_member = "/data/jwt"
        expiry_member = "/data/until"
        expiry_format = "unix_seconds"
        grant_type = "own"
        json_requests = true
        request_headers = { X-Key = "env:KEY" }
        cache = false
        danger_allow_http_on_loopback = true
        danger_token_endpoint_as_audience = true
    "#;
    let (name, layer) = parse(text, Some("orders")).unwrap().unwrap();
    assert_eq!(name, "orders");
    assert_eq!(layer.scope.as_deref(), Some("a b"));
    assert_eq!(layer.resource.len(), 2);
    assert_eq!(
        layer.client.authentication,
        Some(AuthenticationMethod::ClientSecretBasicRaw)
    );
    assert_eq!(layer.timeout, Some(Duration::from_secs(10)));
    assert_eq!(layer.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(
        layer.server.variables,
        [("domain".to_owned(), "acme.eu.auth0.com".to_owned())]
    );
    assert_eq!(
        (layer.cache, layer.require_granted_scopes),
        (Some(false), Some(true))
    );
    let format = layer.format.unwrap();
    assert_eq!(format.token_member.as_deref(), Some("/data/jwt"));
    assert_eq!(format.grant_type.as_deref(), Some("own"));
    assert_eq!(format.json_requests, Some(true));
    assert_eq!(format.request_headers[0].0, "X-Key");
    let own = &layer.server.provider_settings.entries;
    assert_eq!(
        own.keys().collect::<Vec<_>>(),
        ["region", "shards", "strict", "zones"]
    );
    // Every key was present.
    for key in KEYS {
        assert!(text.contains(&format!("{key} = ")), "{key}");
    }
}

#[test]
fn the_default_profile_is_named_default() {
    let text = "[profile.default]\nclient_id = \"a\"\n[profile.other]\nclient_id = \"b\"\n";
    let id = |chosen| {
        parse(text, chosen)
            .unwrap()
            .unwrap()
            .1
            .client
            .client_id
            .unwrap()
    };
    assert_eq!((id(None), id(Some("other"))), ("a".into(), "b".into()));
    assert!(parse("[profile.x]\n", None).unwrap().is_none());
    assert!(parse("", None).unwrap().is_none());
}

// covers: F-99, I-14
#[test]
fn errors_name_the_line_and_no_value() {
    for (text, says) in [
        (
            "[profile.p]\nclient_secret = \"CANARY\"",
            "line 2: `client_secret`: this is not a secret reference",
        ),
        (
            "[profile.p]\nclient_secret = \"CANARY:x\"",
            "not a secret reference",
        ),
        (
            "[profile.p]\nclient_secret = CANARY",
            "line 2: invalid TOML",
        ),
        (
            "[profile.p]\n\nclient_secret = 'CANARY",
            "line 3: invalid TOML",
        ),
        ("[profile.p]\nCANARY!\n", "invalid TOML: a setting"),
        (
            "[profile.CANARY\n",
            "line 1: invalid TOML: a profile starts with",
        ),
        (
            "[profile.p]\n[profile.p]\n",
            "line 2: invalid TOML: a profile starts with",
        ),
        (
            "[profile.p]\nclient_id = \"\\CANARY\"",
            "line 2: invalid TOML: within",
        ),
        (
            "[profile.p]\nca_file = \"C:\\certificates\\CANARY.pem\"\n",
            "write a path in '...'",
        ),
        (
            "[profile.p]\nca_file = '/etc/CANARY/'",
            "`ca_file`: expected the path of a file",
        ),
        (
            "[profile.p.redis]\nca_file = '/etc/CANARY/.'",
            "line 2: `ca_file`: expected the path of a file",
        ),
        (
            "[profile.p]\nclient_id = [\"CANARY\"]",
            "`client_id`: expected a string",
        ),
        (
            "[profile.p]\nclient_id = { CANARY = 1 }",
            "`client_id`: expected a string",
        ),
        (
            "[profile.p]\nclient_secret = { value = \"CANARY\" }",
            "`client_secret`: expected a string",
        ),
        (
            "[profile.p]\ntimeout = \"CANARY\"",
            "`timeout`: expected a duration",
        ),
        (
            "[profile.p]\ntimeout = 0x10",
            "`timeout`: expected a duration",
        ),
        (
            "[profile.p]\nauthentication = \"CANARY\"",
            "expected one of `client_secret_post`",
        ),
        ("[profile.p]\ncache = \"CANARY\"", "`true` or `false`"),
        (
            "[profile.p]\nscope = [1, \"CANARY\"]",
            "`scope`: expected a string",
        ),
        ("[profile.p]\nparameters = \"CANARY\"", "table of strings"),
        (
            "[profile.p]\n\"CANARY CANARY\" = 1",
            "unknown setting with an unusual name",
        ),
        ("[profile]\np = \"CANARY\"", "a profile must be a table"),
        ("profile = \"CANARY\"", "`profile` must be a table"),
    ] {
        let failure = parse(text, Some("p")).unwrap_err();
        let shown = format!("{failure} {failure:?}");
        assert!(shown.contains(says), "{text}: {shown}");
        assert!(!shown.contains("CANARY"), "{text}: {shown}");
    }
    // Positive control: the parser's own message would contain it.
    let error = DeTable::parse("client_secret = CANARY").unwrap_err();
    assert!(error.to_string().contains("CANARY"), "{error}");
}

#[test]
fn a_misspelled_name_gets_a_suggestion() {
    for (text, nearest) in [
        ("[profile.p]\nclient-id = \"x\"", "`client_id`"),
        ("[profile.p]\nscopes = \"x\"", "`scope`"),
        ("[profile.p]\ntokenendpoint = \"x\"", "`token_endpoint`"),
        ("[profiles.p]\n", "`profile`"),
        ("[profile.q]\n[profile.prod]\n", "`prod`"),
    ] {
        let chosen = if text.contains("prod") { "prd" } else { "p" };
        let text = parse(text, Some(chosen)).unwrap_err().to_string();
        assert!(
            text.contains(&format!("a similar name exists: {nearest}")),
            "{text}"
        );
    }
}

#[test]
fn the_redis_table_accepts_every_setting() {
    let text = r#"
        [profile.p.redis]
        url = "rediss://redis.example:6379/2"
        prefix = "orders:"
        username = "orders"
        password = "env:REDIS_PASSWORD"
        keys = "env:STORE_KEYS"
        ca_file = "/etc/ca.pem"
        client_certificate = "env:REDIS_CERTIFICATE"
        sentinel = "primary"
        sentinel_username = "sentinels"
        sentinel_password = "env:SENTINEL_PASSWORD"
        other_urls = ["rediss://other.example"]
        cluster = false
        functions = false
        timeout = "1s"
        danger_store_in_clear = false
        danger_allow_plain_text = false
    "#;
    let (_, layer) = parse(text, Some("p")).unwrap().unwrap();
    let redis = layer.redis.unwrap();
    assert_eq!(redis.location, "config.toml, line 2");
    assert_eq!(redis.references().count(), 4);
    assert_eq!(redis.timeout, Some(Duration::from_secs(1)));
    for key in REDIS_KEYS {
        assert!(text.contains(&format!("{key} = ")), "{key}");
    }
}

// covers: F-99, I-14
#[test]
fn errors_in_the_redis_table_name_line_and_setting() {
    const KEYS: &str = "keys = \"env:K\"\n";
    const TLS: &str = "url = \"rediss://r.example\"\n";
    const PLAIN: &str = "url = \"redis://127.0.0.1\"\n";
    for (settings, says) in [
        (KEYS.to_owned(), "line 1: `redis.url`: set it"),
        (TLS.to_owned(), "line 1: `redis.keys`: tokens are encrypted"),
        (
            format!("{KEYS}url = \"rediss://u:CANARY@r.example\""),
            "line 3: `redis.url`: the URL contains a user name or password",
        ),
        (
            format!("{KEYS}url = \"CANARY\""),
            "line 3: `redis.url`: expected a URL",
        ),
        (
            format!("{TLS}{KEYS}password = \"CANARY\""),
            "line 4: `password`: this is not a secret reference",
        ),
        (
            format!("{TLS}{KEYS}passwort = \"CANARY\""),
            "a similar name exists: `password`",
        ),
        (
            format!("{TLS}{KEYS}username = \"CANARY\""),
            "line 4: `redis.username`: no effect without `password`",
        ),
        (
            format!("{PLAIN}{KEYS}ca_file = \"CANARY\""),
            "line 4: `redis.ca_file`: no effect without TLS",
        ),
        (
            format!("{PLAIN}{KEYS}client_certificate = \"env:CANARY\""),
            "line 4: `redis.client_certificate`: no effect without TLS",
        ),
        (
            format!("{TLS}{KEYS}danger_allow_plain_text = true"),
            "line 4: `redis.danger_allow_plain_text`: no effect",
        ),
        (
            format!("{TLS}{KEYS}danger_store_in_clear = true"),
            "line 4: `redis.danger_store_in_clear`: set beside `keys`",
        ),
        (
            format!("{TLS}{KEYS}sentinel_password = \"env:CANARY\""),
            "line 4: `redis.sentinel_password`: no effect without `sentinel`",
        ),
        (
            format!("{TLS}{KEYS}sentinel = \"m\"\nsentinel_username = \"CANARY\""),
            "line 5: `redis.sentinel_username`: no effect without `sentinel_password`",
        ),
        (
            format!("{TLS}{KEYS}other_urls = [\"rediss://CANARY\"]"),
            "line 4: `redis.other_urls`: no effect",
        ),
        (
            format!("{TLS}{KEYS}sentinel = \"CANARY\"\ncluster = true"),
            "line 5: `redis.cluster`: set beside `sentinel`",
        ),
    ] {
        let failure = parse(&format!("[profile.p.redis]\n{settings}"), Some("p")).unwrap_err();
        let shown = format!("{failure} {failure:?}");
        assert!(shown.contains(says), "{settings}: {shown}");
        assert!(!shown.contains("CANARY"), "{settings}: {shown}");
    }
    let failure = parse("[profile.p]\nredis = \"CANARY\"", Some("p")).unwrap_err();
    assert!(failure.to_string().contains("expected a table"));
}

#[test]
fn each_scheme_of_redis_has_its_settings() {
    for (url, is_tls) in [
        ("rediss://r.example", true),
        ("REDISS://r.example", true),
        ("valkeys://r.example", true),
        ("redis://r.example", false),
        ("valkey://r.example", false),
    ] {
        let accepts = |setting: &str| {
            let text = format!(
                "[profile.p.redis]\nkeys = 'env:K'\ncluster = true\nurl = '{url}'\n{setting}"
            );
            parse(&text, Some("p")).is_ok()
        };
        assert_eq!(accepts("ca_file = '/etc/ca.pem'"), is_tls, "{url}");
        assert_eq!(accepts("danger_allow_plain_text = true"), !is_tls, "{url}");
        let others = ["rediss://o.example", "valkey://o.example"];
        let others = others.map(|other| accepts(&format!("other_urls = ['{other}']")));
        assert_eq!(others, [is_tls, !is_tls], "{url}");
    }
}

#[cfg(unix)]
#[test]
fn a_change_of_permissions_is_a_change_of_the_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = tempfile::NamedTempFile::new().unwrap();
    let stamp = || FileStamp::new(&file.path().metadata().unwrap());
    let before = stamp();
    assert_eq!(stamp(), before);
    let started = std::time::Instant::now();
    // The file system's clock advances in steps of some milliseconds.
    while stamp() == before {
        let permissions = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
