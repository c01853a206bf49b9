//! Configuration errors are reported before any I/O, by the setting's name, without a secret.

use std::time::Duration;

use hallpass::{
    camall::Camall,
    endpoint::{BuildError, ClientCredentials, ClientSecretBasic, HttpTransport, Retry},
};
use hallpass_testkit::leak;

use crate::support::{CANARY, secret};

/// A canary that can be part of a URL.
const PLAIN: &str = "CANARY-in-a-URL";
const URL: &str = "https://login.example/oauth/token";

fn refused<T: std::fmt::Debug>(result: Result<T, BuildError>, setting: &str, says: &str) {
    let error = result.unwrap_err();
    let text = leak::error_chain(&error);
    assert_eq!(error.setting(), setting, "{text}");
    assert!(text.contains(says), "{text}");
    leak::assert_clean(&text, CANARY);
    leak::assert_clean(&text, PLAIN);
}

// covers: C-02, C-03, C-10, C-11, C-13, C-16, C-61, F-62, F-120
#[test]
fn a_source_names_the_setting_that_is_wrong() {
    let with = |url: &str, id: &str| {
        ClientCredentials::builder(url, id, ClientSecretBasic::new(secret(CANARY)))
    };
    let good = || with(URL, "id");
    assert!(good().build().is_ok());
    refused(with(URL, "").build(), "client_id", "set it");
    refused(with(URL, "i\nd").build(), "client_id", "printable ASCII");
    refused(with("", "id").build(), "token_endpoint", "absolute URL");
    let userinfo = format!("https://id:{PLAIN}@login.example/");
    refused(with(&userinfo, "id").build(), "token_endpoint", "user name");
    refused(
        with("http://login.example/", "id").build(),
        "token_endpoint",
        "https",
    );
    refused(good().scope("a\tb").build(), "scope", "byte 1");
    refused(
        good().resource("orders").build(),
        "resource",
        "absolute URI",
    );
    refused(good().audience("").build(), "audience", "leave it out");
    refused(
        good().parameter("client_secret", CANARY).build(),
        "parameter",
        "`client_secret`",
    );
    refused(
        good().parameter("tenant", "").build(),
        "parameter",
        "leave it out",
    );
    let instant = Retry::new().deadline(Duration::ZERO);
    refused(good().retry(instant).build(), "Retry::deadline", "zero");
    // The first of several errors is the one to fix first.
    refused(good().scope("\"").audience("").build(), "scope", "byte 0");
    let local = with("https://10.0.0.1/", "id").refuse_local_endpoint();
    refused(local.build(), "token_endpoint", "private");
    let camall = Camall::builder("id", secret(CANARY)).token_endpoint("ftp://x/");
    refused(camall.build(), "token_endpoint", "https");
}

// covers: F-60
#[test]
fn a_transport_names_the_setting_that_is_wrong() {
    let new = HttpTransport::builder;
    assert!(new().build().is_ok());
    refused(new().timeout(Duration::ZERO).build(), "timeout", "zero");
    let instant = new().connect_timeout(Duration::ZERO);
    refused(instant.build(), "connect_timeout", "zero");
    refused(new().proxy("proxy:3128").build(), "proxy", "`http`");
    refused(
        new().proxy(format!("http://u:{PLAIN}@p.example/")).build(),
        "proxy",
        "proxy_credentials",
    );
    refused(
        new().proxy_credentials("u", secret(CANARY)).build(),
        "proxy_credentials",
        "set `proxy`",
    );
    refused(
        new().add_root_certificates_pem("no certificate").build(),
        "add_root_certificates_pem",
        "certificate",
    );
    refused(
        new().only_added_root_certificates().build(),
        "only_added_root_certificates",
        "no certificate",
    );
    refused(new().user_agent("a\nb").build(), "transport", "user_agent");
}
