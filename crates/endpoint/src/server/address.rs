//! The endpoint address, parsed once into a type that is always valid.

use url::Url;

use crate::{BuildError, transport::reach::Reach};

/// An address that credentials may be sent to: HTTPS (or HTTP on loopback by choice), no userinfo, no fragment.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    url: Url,
    host: Box<str>,
}

/// The addresses that are allowed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressRules {
    pub(crate) allow_http_on_loopback: bool,
    /// The method that refuses local and private addresses, if it was called.
    pub(crate) refuse_local: Option<&'static str>,
}

impl AddressRules {
    /// Checks that the rules do not exclude each other.
    pub(crate) fn check(self) -> Result<(), BuildError> {
        let (true, Some(method)) = (self.allow_http_on_loopback, self.refuse_local) else {
            return Ok(());
        };
        let message = format!(
            "it has no effect with `{method}`, which refuses addresses of this machine; remove one of the two"
        );
        Err(BuildError::new("danger_allow_http_on_loopback", message))
    }
}

impl Address {
    pub(crate) fn parse(text: &str, rules: AddressRules) -> Result<Self, BuildError> {
        Self::parse_as("token_endpoint", text, rules)
    }

    /// Parses the address of another setting than the token endpoint, by the same rules.
    pub(crate) fn parse_as(
        setting: &'static str,
        text: &str,
        rules: AddressRules,
    ) -> Result<Self, BuildError> {
        let refuse = |message: &'static str| Err(BuildError::new(setting, message));
        rules.check()?;
        // The text itself is not repeated: it may hold credentials.
        let Ok(url) = Url::parse(text) else {
            return refuse(
                "not an absolute URL; use the whole address, such as `https://login.example/oauth/token`",
            );
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "the URL contains a user name or password; set `client_id` and an authentication method instead",
            );
        }
        if url.fragment().is_some() {
            return refuse("the URL has a fragment, which RFC 6749 section 3.2 forbids; remove it");
        }
        let Some(host) = url.host() else {
            return refuse("the URL names no host; use an `https://` address");
        };
        let reach = Reach::classify(&host);
        if let Some(method) = rules.refuse_local.filter(|_| reach != Reach::Global) {
            let message =
                format!("the URL names a local or private address, which `{method}` forbids");
            return Err(BuildError::new(setting, message));
        }
        match url.scheme() {
            "https" => {}
            "http" if rules.allow_http_on_loopback && reach == Reach::Loopback => {}
            "http" if rules.allow_http_on_loopback => {
                return refuse(
                    "plain HTTP is allowed on loopback only; use `https://`, or `127.0.0.1`, `[::1]` or `localhost`",
                );
            }
            "http" if reach == Reach::Loopback => {
                return refuse(
                    "plain HTTP would expose the credentials to other users of this machine; use `https://`, or `danger_allow_http_on_loopback` for a test server",
                );
            }
            "http" => {
                return refuse(
                    "plain HTTP would expose the credentials to the network (RFC 6749 section 3.2); use `https://`",
                );
            }
            _ => return refuse("the URL's scheme is neither `https` nor `http`; use `https://`"),
        }
        let host = match url.port() {
            None => host.to_string(),
            Some(port) => format!("{host}:{port}"),
        };
        Ok(Self {
            url,
            host: host.into(),
        })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the host, with the port if it is not the scheme's default, as shown in errors.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: AddressRules = AddressRules {
        allow_http_on_loopback: false,
        refuse_local: None,
    };
    const LOOPBACK: AddressRules = AddressRules {
        allow_http_on_loopback: true,
        refuse_local: None,
    };
    const PUBLIC: AddressRules = AddressRules {
        allow_http_on_loopback: false,
        refuse_local: Some("refuse_local_endpoint"),
    };

    fn check(rules: AddressRules, url: &str, expect: Result<&str, &str>) {
        match (Address::parse(url, rules), expect) {
            (Ok(address), Ok(host)) => assert_eq!(address.host(), host, "{url}"),
            (Err(error), Err(expected)) => {
                let text = error.to_string();
                assert!(text.contains(expected), "{url}: {text}");
                assert!(!text.contains("CANARY"), "{text}");
            }
            (parsed, expect) => panic!("{url}: {parsed:?}, expected {expect:?}"),
        }
    }

    // covers: C-02, C-03, C-07, F-62, F-120
    #[test]
    fn only_an_address_that_may_have_credentials_passes() {
        check(
            STRICT,
            "https://login.example/oauth/token",
            Ok("login.example"),
        );
        check(
            STRICT,
            "https://login.example:8443/t",
            Ok("login.example:8443"),
        );
        check(STRICT, "https://login.example:443/t", Ok("login.example"));
        check(STRICT, "https://[2001:db8::1]/t", Ok("[2001:db8::1]"));
        check(STRICT, "", Err("not an absolute URL"));
        check(STRICT, "login.example/token", Err("not an absolute URL"));
        check(STRICT, "https://", Err("not an absolute URL"));
        check(
            STRICT,
            "https://id:CANARY@login.example/",
            Err("user name or password"),
        );
        check(
            STRICT,
            "https://CANARY@login.example/",
            Err("user name or password"),
        );
        check(STRICT, "https://login.example/t#part", Err("fragment"));
        check(STRICT, "file:///etc/passwd", Err("names no host"));
        check(STRICT, "unix:/run/x.sock", Err("names no host"));
        check(STRICT, "ftp://login.example/", Err("scheme"));
        let network = "to the network (RFC 6749 section 3.2); use `https://`";
        check(STRICT, "http://login.example/t", Err(network));
        check(
            STRICT,
            "http://127.0.0.1/t",
            Err("danger_allow_http_on_loopback"),
        );
        for loopback in [
            "127.0.0.1:80",
            "127.1.2.3",
            "[::1]",
            "localhost",
            "localhost.",
            "[::ffff:127.0.0.1]",
        ] {
            let parsed = Address::parse(&format!("http://{loopback}/t"), LOOPBACK);
            assert!(parsed.is_ok(), "{loopback}");
        }
        for remote in [
            "10.0.0.1",
            "login.example",
            "localhost.example",
            "0.0.0.0",
            "127.0.0.1.example",
        ] {
            check(
                LOOPBACK,
                &format!("http://{remote}/t"),
                Err("loopback only"),
            );
        }
    }

    #[test]
    fn rules_that_exclude_each_other_are_refused() {
        let both = AddressRules {
            refuse_local: Some("refuse_local_issuer"),
            ..LOOPBACK
        };
        for url in ["https://login.example", "http://127.0.0.1"] {
            let error = Address::parse_as("issuer", url, both).unwrap_err();
            assert_eq!(error.setting(), "danger_allow_http_on_loopback");
            assert!(error.message().contains("`refuse_local_issuer`"), "{error}");
        }
        let one = AddressRules {
            allow_http_on_loopback: false,
            ..both
        };
        let error = Address::parse_as("issuer", "https://10.0.0.1", one).unwrap_err();
        assert_eq!(error.setting(), "issuer");
        assert!(error.message().contains("`refuse_local_issuer`"), "{error}");
    }

    #[test]
    fn local_addresses_are_refused_in_every_spelling() {
        for local in [
            "169.254.169.254",
            "10.1.1.1",
            "localhost",
            "[fe80::1]",
            "[fd00::1]",
            "[::1]",
            // Metadata services of clouds, and the same addresses embedded in IPv6 ones.
            "100.100.100.200",
            "192.0.0.192",
            "[fd00:ec2::254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[::a9fe:a9fe]",
            "[::ffff:a9fe:a9fe]",
            "0.1.2.3",
            "172.31.255.255",
            "192.88.99.1",
            "198.19.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001::1]",
            "[2001:db8::1]",
            "[3fff::1]",
        ] {
            check(STRICT, &format!("https://{local}/t"), Ok(local));
            check(
                PUBLIC,
                &format!("https://{local}/t"),
                Err("local or private"),
            );
        }
        for public in [
            "login.example",
            "1.1.1.1",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2001:200::1]",
            "[64:ff9b::101:101]",
            "[2002:101:101::1]",
            "[::ffff:101:101]",
        ] {
            let parsed = Address::parse(&format!("https://{public}/t"), PUBLIC);
            assert!(parsed.is_ok(), "{public}: {parsed:?}");
        }
    }

    // covers: C-04
    #[test]
    fn a_query_is_preserved() {
        let address = Address::parse("https://login.example/t?tenant=a%20b&x", STRICT).unwrap();
        assert_eq!(
            address.url().as_str(),
            "https://login.example/t?tenant=a%20b&x"
        );
    }
}
