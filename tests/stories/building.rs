//! Configuration errors are reported before any I/O, by the setting's name, without a secret.

use std::{net::Ipv4Addr, time::Duration};

use hallpass::{
    camall::Camall,
    endpoint::{
        BuildError, ClientCredentials, ClientSecretBasic, HttpTransport, HttpTransportBuilder,
        Retry,
    },
};
use hallpass_testkit::leak;

use crate::{
    builders::settings::setters,
    support::{CANARY, secret},
    tls::Authority,
};

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

type Setter = fn(HttpTransportBuilder) -> HttpTransportBuilder;

/// The methods of the transport's builder. Credentials of a proxy need a proxy.
const TRANSPORT: [(&str, Setter); 12] = [
    ("add_root_certificates_pem", |one| {
        one.add_root_certificates_pem(Authority::new("ours").certificate().pem())
    }),
    (
        "compressed_responses",
        HttpTransportBuilder::compressed_responses,
    ),
    ("connect_timeout", |one| {
        one.connect_timeout(Duration::from_secs(1))
    }),
    ("local_address", |one| {
        one.local_address(Ipv4Addr::LOCALHOST.into())
    }),
    ("max_body_bytes", |one| one.max_body_bytes(1 << 16)),
    ("only_added_root_certificates", |one| {
        let one = one.add_root_certificates_pem(Authority::new("ours").certificate().pem());
        one.only_added_root_certificates()
    }),
    ("pool_idle_timeout", |one| {
        one.pool_idle_timeout(Duration::ZERO)
    }),
    ("proxy", |one| one.proxy("http://proxy.example:3128")),
    ("proxy_credentials", |one| {
        let one = one.proxy("http://proxy.example:3128");
        one.proxy_credentials("user", secret(CANARY))
    }),
    ("system_proxy", HttpTransportBuilder::system_proxy),
    ("timeout", |one| one.timeout(Duration::from_secs(1))),
    ("user_agent", |one| one.user_agent("orders/1.0")),
];

#[test]
fn every_two_settings_of_a_transport_work_or_are_refused() {
    let names = TRANSPORT.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(
        setters("endpoint", "HttpTransportBuilder"),
        names.collect(),
        "right: `TRANSPORT`; a method needs a row"
    );
    for (at, (one, set)) in TRANSPORT.iter().enumerate() {
        for (other, set_other) in &TRANSPORT[at + 1..] {
            let built = set_other(set(HttpTransport::builder())).build();
            let is_excluded = one.starts_with("proxy") && *other == "system_proxy";
            match built {
                Ok(_) => assert!(!is_excluded, "{one}, {other}"),
                Err(error) => {
                    assert!(is_excluded, "{one}, {other}: {error}");
                    assert_eq!(error.setting(), "system_proxy");
                    assert!(error.message().contains("`proxy`"), "{error}");
                }
            }
        }
    }
}
