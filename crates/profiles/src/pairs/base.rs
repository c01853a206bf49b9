//! The smallest profiles in which a setting has an effect: an address of the server, and a client.

use std::collections::BTreeMap;

use super::{
    rows::Sample,
    server::{PROXIED_HOST, Server},
};

/// The settings of a profile, by name, as TOML.
pub(super) type Table = BTreeMap<&'static str, String>;

/// An address of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Address {
    Endpoint,
    Issuer,
    /// A preset whose address has variables.
    Preset,
    /// A preset with the address of another server.
    PresetAt,
    Registered,
    RegisteredIssuer,
}

/// A client with its credential.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Client {
    Secret,
    Post,
    SecretJwt,
    Signed,
    SignedWithCertificate,
    Workload,
    Spiffe,
    Tls,
    TlsWithKey,
    SelfSigned,
    SelfSignedWithKey,
    SecretAndTls,
    SecretAndTlsWithKey,
    Public,
}

use Address as A;
use Client as C;

impl Address {
    pub(super) const ALL: &'static [Self] = &[
        A::Endpoint,
        A::Issuer,
        A::PresetAt,
        A::Preset,
        A::Registered,
        A::RegisteredIssuer,
    ];

    /// Returns the settings of the address.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            A::Endpoint => &[("token_endpoint", "'{base}/{run}/token'")],
            A::Issuer => &[("issuer", "'{base}/{run}'")],
            A::Preset => &[
                ("provider", "'keycloak'"),
                ("variables", "{ host = '{host}', realm = '{run}' }"),
            ],
            A::PresetAt => &[
                ("provider", "'keycloak'"),
                ("token_endpoint", "'{base}/{run}/token'"),
            ],
            A::Registered => &[
                ("provider", "'acme'"),
                ("provider_settings", "{ region = 'eu' }"),
                ("token_endpoint", "'{base}/{run}/token'"),
            ],
            A::RegisteredIssuer => &[
                ("provider", "'acme'"),
                ("provider_settings", "{ region = 'eu' }"),
                ("issuer", "'{base}/{run}'"),
            ],
        }
    }
}

const SECRET: (&str, &str) = ("client_secret", "'file:{dir}/secret'");
const KEY: (&str, &str) = ("private_key", "'file:{dir}/key.pem'");
const CERTIFICATE: (&str, &str) = ("certificate", "'file:{dir}/identity.pem'");
const CERTIFICATE_ALONE: (&str, &str) = ("certificate", "'file:{dir}/certificate.pem'");
const ASSERTION: (&str, &str) = ("assertion", "'file:{dir}/assertion'");

impl Client {
    pub(super) const ALL: &'static [Self] = &[
        C::Secret,
        C::Post,
        C::SecretJwt,
        C::Signed,
        C::SignedWithCertificate,
        C::Workload,
        C::Spiffe,
        C::Tls,
        C::TlsWithKey,
        C::SelfSigned,
        C::SelfSignedWithKey,
        C::SecretAndTls,
        C::SecretAndTlsWithKey,
        C::Public,
    ];

    /// Returns the settings of the client.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        const METHOD: &str = "authentication";
        match self {
            C::Secret => &[SECRET],
            C::Post => &[(METHOD, "'client_secret_post'"), SECRET],
            C::SecretJwt => &[(METHOD, "'client_secret_jwt'"), SECRET],
            C::Signed => &[KEY],
            C::SignedWithCertificate => &[(METHOD, "'private_key_jwt'"), KEY, CERTIFICATE_ALONE],
            C::Workload => &[ASSERTION],
            C::Spiffe => &[(METHOD, "'spiffe_jwt'"), ASSERTION],
            C::Tls => &[CERTIFICATE],
            C::TlsWithKey => &[KEY, CERTIFICATE_ALONE],
            C::SelfSigned => &[(METHOD, "'self_signed_tls_client_auth'"), CERTIFICATE],
            C::SelfSignedWithKey => &[
                (METHOD, "'self_signed_tls_client_auth'"),
                KEY,
                CERTIFICATE_ALONE,
            ],
            C::SecretAndTls => &[(METHOD, "'client_secret_basic'"), SECRET, CERTIFICATE],
            C::SecretAndTlsWithKey => &[
                (METHOD, "'client_secret_basic'"),
                SECRET,
                KEY,
                CERTIFICATE_ALONE,
            ],
            C::Public => &[(METHOD, "'none'")],
        }
    }

    pub(super) fn presents_a_certificate(self) -> bool {
        !matches!(self, C::SignedWithCertificate)
            && self.settings().iter().any(|(key, _)| *key == "certificate")
    }

    fn signs(self) -> bool {
        matches!(self, C::Signed | C::SignedWithCertificate | C::SecretJwt)
    }
}

/// A profile for two settings, or for one.
pub(super) struct Profile {
    pub(super) table: Table,
    /// True if there is a server and a client with which all of the settings have an effect.
    pub(super) fits: bool,
    /// The settings on whose account each of the two has an effect, itself included.
    pub(super) names: Vec<Vec<&'static str>>,
    /// The settings that the second one needs and that are not set.
    pub(super) missing: Vec<&'static str>,
    /// True if the second one replaces a setting that the first one needs.
    pub(super) is_replaced: bool,
}

/// Returns the profile with these settings, on top of the server and the client that all of them support; if there is
/// none, those of the first.
pub(super) fn profile(samples: &[&Sample]) -> Profile {
    let last = samples[samples.len() - 1];
    let address = common(Address::ALL, samples, |sample| sample.addresses);
    let client = common(Client::ALL, samples, |sample| sample.clients);
    let mut names: Vec<_> = samples.iter().map(|sample| vec![sample.key]).collect();
    let mut table = Table::new();
    for (sample, names) in samples.iter().zip(&mut names) {
        table.insert(sample.key, sample.value.to_owned());
        names.extend(sample.with.iter().map(|(key, _)| *key));
    }
    let needed = samples.iter().flat_map(|sample| sample.with);
    let client_settings = client.unwrap_or(samples[0].clients[0]);
    let address_settings = address.unwrap_or(samples[0].addresses[0]);
    let replaced = address_settings.settings().iter();
    let mut replaced = replaced.filter(|(key, _)| *key == last.key);
    let is_replaced = address.is_none() && replaced.next().is_some();
    for (found, settings) in [
        (client.is_some(), client_settings.settings()),
        (address.is_some(), address_settings.settings()),
    ] {
        if !found {
            names[0].extend(settings.iter().map(|(key, _)| *key));
        }
    }
    if client.is_none() {
        names[0].push("authentication");
    }
    for (sample, names) in samples.iter().zip(&mut names) {
        if let [address] = sample.addresses {
            names.extend(address.settings().iter().map(|(key, _)| *key));
        }
    }
    let defaults = [
        ("client_id", "'orders'"),
        ("ca_file", "'{dir}/authority.pem'"),
    ];
    let all = needed
        .chain(client_settings.settings())
        .chain(address_settings.settings())
        .chain(&defaults);
    for (key, value) in all {
        table.entry(key).or_insert_with(|| (*value).to_owned());
    }
    let has_audience = [
        "issuer",
        "assertion_audience",
        "danger_token_endpoint_as_audience",
    ];
    if client_settings.signs() && !has_audience.iter().any(|key| table.contains_key(key)) {
        table.insert("issuer", "'https://issuer.example'".to_owned());
    }
    // A certificate beside a key has none of its own.
    if table.contains_key("private_key")
        && table
            .get("certificate")
            .is_some_and(|text| text == CERTIFICATE.1)
    {
        table.insert("certificate", CERTIFICATE_ALONE.1.to_owned());
    }
    if table.contains_key("command_timeout") {
        print_a_secret(&mut table);
    }
    if table.contains_key("redis") && client_settings.presents_a_certificate() {
        let unbound = || "false".to_owned();
        table.entry("bound_tokens").or_insert_with(unbound);
    }
    let needed = last.clients[0].settings().iter();
    let needed = needed.chain(last.addresses[0].settings());
    let missing = needed
        .map(|(key, _)| *key)
        .filter(|key| !table.contains_key(key));
    let missing = missing.collect();
    Profile {
        table,
        fits: address.is_some() && client.is_some(),
        names,
        missing,
        is_replaced,
    }
}

/// Returns the first of all that each sample supports.
fn common<T: Copy + PartialEq + 'static>(
    all: &[T],
    samples: &[&Sample],
    supported: impl Fn(&Sample) -> &'static [T],
) -> Option<T> {
    let fits = |one: &&T| {
        samples
            .iter()
            .all(|sample| supported(sample).contains(*one))
    };
    all.iter().find(fits).copied()
}

/// Has a command print one of the secrets, or a header if there is none.
fn print_a_secret(table: &mut Table) {
    let mut secrets = table.iter_mut().filter(|(key, _)| **key != "ca_file");
    let secret = secrets.find_map(|(_, value)| value.contains("'file:").then_some(value));
    if let Some(value) = secret {
        *value = value.replacen("'file:", "'command:cat ", 1);
    } else {
        let header = "{ X-Key = 'command:cat {dir}/header' }";
        table.insert("request_headers", header.to_owned());
    }
}

/// Returns the profile of this client at this server, with these settings.
pub(super) fn combination(
    address: Address,
    client: Client,
    more: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Table {
    let id = Sample::new("client_id", "'orders'", |_| true);
    let mut addresses = Address::ALL.iter().map(std::slice::from_ref);
    let mut clients = Client::ALL.iter().map(std::slice::from_ref);
    // Both lists have each value.
    let id = Sample {
        addresses: addresses.find(|one| one[0] == address).unwrap_or_default(),
        clients: clients.find(|one| one[0] == client).unwrap_or_default(),
        ..id
    };
    let more: Vec<_> = more
        .into_iter()
        .map(|(key, value)| Sample::new(key, value, |_| true))
        .collect();
    let samples: Vec<_> = std::iter::once(&id).chain(&more).collect();
    profile(&samples).table
}

/// Returns the text of the profile `run` of this number.
pub(super) fn text(table: &Table, run: u32, directory: &str, server: &Server) -> String {
    let lines = table
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"));
    let lines = lines.collect::<String>();
    let lines = expand(&lines, table, run, directory, server);
    format!("[profile.run{run}]\n{lines}")
}

/// Replaces the names of addresses, files and the run in the text of a value.
pub(super) fn expand(
    text: &str,
    table: &Table,
    run: u32,
    directory: &str,
    server: &Server,
) -> String {
    let host = host(table, server);
    text.replace("{base}", &format!("https://{host}"))
        .replace("{http}", &format!("http://{}", server.address))
        .replace("{silent}", &format!("https://{}", server.silent))
        .replace("{host}", &host)
        .replace("{run}", &run.to_string())
        .replace("{dir}", directory)
        .replace("{port}", &server.address.port().to_string())
        .replace("{silent_port}", &server.silent.port().to_string())
        .replace("{redis}", &server.redis.to_string())
        .replace("{node}", &server.node.to_string())
}

/// Returns host and port of the server: a proxy is not used for a loopback address.
pub(super) fn host(table: &Table, server: &Server) -> String {
    let is_proxied = table
        .get("proxy")
        .is_some_and(|proxy| proxy.contains("http"));
    if is_proxied {
        format!("{PROXIED_HOST}:{}", server.address.port())
    } else {
        server.address.to_string()
    }
}
