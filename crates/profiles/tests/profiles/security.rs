//! A security profile as a setting: weaker settings are refused before anything is read.

use std::{fs, sync::Arc, time::Duration};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenRequest, TokenSource, TokenType,
};
use hallpass_endpoint::{ClientCredentials, Retry, SecurityProfile};
use hallpass_profiles::{
    ProfileError, ProfileSource, Profiles, ProviderSettings, Selection, Settings,
};
use tempfile::TempDir;

/// The server and the profile.
const HELD: &str = "[profile.bank]\nclient_id = 'orders'\nsecurity_profile = 'fapi2'\n";
const ISSUER: &str = "issuer = 'https://bank.example'\n";
const SIGNED: &str = "private_key = 'env:NO_SUCH_KEY'\n";
const CERTIFIED: &str = "certificate = 'env:NO_SUCH_CERTIFICATE'\n";
const BOUND: &str = "dpop = 'env:NO_SUCH_DPOP_KEY'\n";

fn load(text: &str) -> Profiles {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let profiles = Profiles::builder().file(path);
    let aware = |settings: &mut ProviderSettings<'_>| {
        let endpoint = settings.endpoint()?.unwrap();
        let source = settings.client_credentials(endpoint)?.build()?;
        Ok(Arc::new(source) as Arc<dyn TokenSource>)
    };
    let unaware = |settings: &mut ProviderSettings<'_>| {
        let (endpoint, id) = (settings.endpoint()?.unwrap(), settings.client_id()?);
        let authentication = settings.client_authentication()?;
        let source = ClientCredentials::builder(endpoint, id, authentication).build()?;
        Ok(Arc::new(source) as Arc<dyn TokenSource>)
    };
    let profiles = profiles.provider("aware", aware);
    profiles.provider("unaware", unaware).load().unwrap()
}

fn settings(parts: &[&str]) -> Result<Settings, ProfileError> {
    load(&parts.concat()).settings(&Selection::new().profile("bank"))
}

#[test]
fn fapi_profiles_with_bound_tokens_are_accepted() {
    for parts in [
        &[HELD, ISSUER, SIGNED, BOUND][..],
        &[HELD, ISSUER, SIGNED, BOUND, "algorithm = 'eddsa'\n"],
        &[HELD, ISSUER, CERTIFIED],
        &[HELD, ISSUER, CERTIFIED, "bound_tokens = false\n", BOUND],
        &[
            HELD,
            ISSUER,
            CERTIFIED,
            "request_headers = { X-Key = 'env:KEY' }\n",
        ],
    ] {
        let settings = settings(parts).unwrap();
        assert_eq!(settings.security_profile, Some(SecurityProfile::Fapi2));
        let loose = parts.concat().replace("security_profile = 'fapi2'\n", "");
        let loose = self::settings(&[&loose]).unwrap();
        assert_ne!(settings.namespace(), loose.namespace());
        // The library agrees.
        settings.token_source(Retry::never()).unwrap();
    }
}

#[test]
fn fapi_profiles_name_no_excluded_setting_as_a_remedy() {
    // Without `issuer`, and with the audience that this server does not have.
    for (parts, setting) in [
        (&[ENDPOINT, SIGNED, BOUND][..], "token_endpoint"),
        (&["provider = 'paypal'\n", SIGNED, BOUND], "provider"),
        (
            &[
                ISSUER,
                SIGNED,
                BOUND,
                "assertion_audience = 'token_endpoint'\n",
            ],
            "assertion_audience",
        ),
    ] {
        let error = settings(&[HELD, &parts.concat()]).expect_err(setting);
        let error = error.to_string();
        assert!(error.starts_with(&format!("{setting}: ")), "{error}");
        assert!(!error.contains("danger_"), "{error}");
    }
    let other = settings(&[HELD, ISSUER, BOUND, "client_secret = 'env:S'\n"]).unwrap_err();
    assert!(other.to_string().contains("set `private_key`"), "{other}");
    let weak = [HELD, ISSUER, SIGNED, BOUND, "algorithm = 'rs256'\n"];
    let weak = settings(&weak).unwrap_err().to_string();
    assert!(weak.contains("set `algorithm` to `PS256`"), "{weak}");
}

const ENDPOINT: &str = "token_endpoint = 'https://bank.example/token'\n";

/// Settings beside those of [`HELD`], the excluded one, and the section.
const WEAKER: &[(&[&str], &str, &str)] = &[
    (
        &[
            ISSUER,
            SIGNED,
            BOUND,
            "assertion_audience = 'https://bank.example/token'\n",
        ],
        "assertion_audience",
        "5.3.3.1",
    ),
    (
        &[ENDPOINT, ISSUER, SIGNED, BOUND],
        "token_endpoint",
        "5.3.3.1",
    ),
    (
        &[
            "provider = 'keycloak'\nvariables = { host = 'a.example', realm = 'a' }\n",
            ISSUER,
            SIGNED,
            BOUND,
        ],
        "provider",
        "5.3.3.1",
    ),
    (
        &[ISSUER, "client_secret = 'env:S'\n", BOUND],
        "authentication",
        "5.3.3.1",
    ),
    (
        &[
            ISSUER,
            "client_secret = 'env:S'\nauthentication = 'client_secret_jwt'\n",
            BOUND,
        ],
        "authentication",
        "5.3.3.1",
    ),
    (
        &[ISSUER, "assertion = 'env:A'\n", BOUND],
        "authentication",
        "5.3.3.1",
    ),
    (
        &[ISSUER, "authentication = 'none'\n", BOUND],
        "authentication",
        "5.3.3.1",
    ),
    (
        &[ISSUER, SIGNED, BOUND, "algorithm = 'rs256'\n"],
        "authentication",
        "5.4.1",
    ),
    (&[ISSUER, SIGNED], "dpop", "5.3.3.1"),
    (
        &[ISSUER, CERTIFIED, "bound_tokens = false\n"],
        "dpop",
        "5.3.3.1",
    ),
    (
        &[
            ISSUER,
            SIGNED,
            BOUND,
            "danger_allow_http_on_loopback = true\n",
        ],
        "danger_allow_http_on_loopback",
        "5.2.1",
    ),
    (
        &[
            ISSUER,
            SIGNED,
            BOUND,
            "danger_token_endpoint_as_audience = true\n",
        ],
        "danger_token_endpoint_as_audience",
        "5.3.3.1",
    ),
    (
        &[ISSUER, SIGNED, BOUND, "lenient_responses = true\n"],
        "lenient_responses",
        "5.3.1",
    ),
    (
        &[ISSUER, SIGNED, BOUND, "json_requests = true\n"],
        "json_requests",
        "5.3.1",
    ),
    (
        &[
            ISSUER,
            SIGNED,
            BOUND,
            "request_headers = { X-Key = 'env:K' }\ntoken_member = '/t'\n",
        ],
        "token_member",
        "5.3.1",
    ),
    (
        &[ISSUER, SIGNED, BOUND, "grant_type = 'own'\n"],
        "grant_type",
        "5.3.1",
    ),
];

#[test]
fn fapi_profiles_with_weaker_settings_are_refused() {
    for (parts, setting, section) in WEAKER {
        let text = [HELD, &parts.concat()].concat();
        let error = settings(&[&text]).expect_err(setting).to_string();
        assert!(error.starts_with(&format!("{setting}: ")), "{error}");
        let section = format!("FAPI 2.0 Security Profile, section {section}: ");
        for named in ["`security_profile`", &section] {
            assert!(error.contains(named), "{error}");
        }
        // Each is accepted without the profile.
        let loose = text.replace("security_profile = 'fapi2'\n", "");
        settings(&[&loose]).expect(setting);
    }
}

#[test]
fn fapi_is_the_only_name_and_a_program_can_set_it() {
    let other = HELD.replace("fapi2", "CANARY");
    let error = settings(&[&other, ISSUER, CERTIFIED])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && error.contains("`fapi2`"),
        "{error}"
    );
    assert!(!error.contains("CANARY"), "{error}");

    let loose = HELD.replace("security_profile = 'fapi2'\n", "");
    let profiles = load(&[&loose, ISSUER, SIGNED].concat());
    let selection = Selection::new().profile("bank");
    profiles.settings(&selection).unwrap();
    let held = selection.security_profile(SecurityProfile::Fapi2);
    let error = profiles.settings(&held).unwrap_err().to_string();
    assert!(error.starts_with("dpop: "), "{error}");
}

#[test]
fn fapi_holds_for_registered_providers_or_is_an_error() {
    let with = |provider: &str| {
        let provider = format!("provider = '{provider}'\n");
        let settings = settings(&[HELD, &provider, ISSUER, CERTIFIED]).unwrap();
        settings.token_source(Retry::never()).map(drop)
    };
    with("aware").unwrap();
    let error = with("unaware").unwrap_err().to_string();
    assert!(
        error.contains("`security_profile` has no effect"),
        "{error}"
    );
}

#[test]
fn a_bearer_token_of_a_store_is_refused_with_a_key() {
    const MINUTE: Duration = Duration::from_secs(60);
    let check = |settings: &Settings, kind| {
        let token = AccessToken::new(kind, "t", SystemClock.moment(), MINUTE).unwrap();
        let source = ProfileSource::new(Arc::new(settings.clone()));
        source.check_token(&TokenRequest::new(), &token)
    };
    let bound = settings(&[HELD, ISSUER, SIGNED, BOUND]).unwrap();
    check(&bound, TokenType::Dpop).unwrap();
    let error = check(&bound, TokenType::Bearer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    let loose = HELD.replace("security_profile = 'fapi2'\n", "");
    let loose = settings(&[&loose, ISSUER, SIGNED]).unwrap();
    check(&loose, TokenType::Bearer).unwrap();
}
