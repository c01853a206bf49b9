//! Client assertions (RFC 7523), checked like a strict server does.

use std::{
    collections::HashSet,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    client::{AuthMethod, Client},
    record::{Refusal, TokenRequestRecord},
};

/// The maximum lifetime of an assertion, in seconds.
const MAX_LIFETIME_SECONDS: u64 = 300;

/// The server as the audience of assertions, with those that it has seen.
pub(crate) struct Assertions {
    issuer: String,
    /// Every `jti` that authenticated a client.
    used: HashSet<String>,
}

impl Assertions {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            issuer,
            used: HashSet::new(),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the client that the assertion authenticates.
    pub(crate) fn authenticate<'a>(
        &mut self,
        assertion: &str,
        record: &mut TokenRequestRecord,
        clients: &'a [Client],
    ) -> Result<&'a Client, Refusal> {
        let refused = |why| Err((401, "invalid_client", why));
        if record.parameter("client_assertion_type")
            != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        {
            return Err((
                400,
                "invalid_request",
                "the assertion's type is not jwt-bearer",
            ));
        }
        let Some(claims) = claims(assertion) else {
            return Err((400, "invalid_request", "the assertion is not a JWT"));
        };
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        let id = text("sub");
        record.method = Some(AuthMethod::Assertion);
        record.client_id = Some(id.to_owned());
        if record.parameter("client_id").is_some_and(|sent| sent != id) {
            return Err((400, "invalid_request", "client_id and assertion differ"));
        }
        let registered = clients
            .iter()
            .find(|client| client.id == id && client.methods.contains(&AuthMethod::Assertion));
        let Some(client) = registered.filter(|client| client.verify.is_some()) else {
            return refused("no such client that uses assertions");
        };
        if !client.signed(assertion) {
            return refused("the assertion is not signed by the client");
        }
        if text("iss") != id {
            return refused("iss is not the client");
        }
        self.check(&claims).map_or_else(refused, |()| Ok(client))
    }

    /// Checks audience, times and replay (RFC 7523 section 3).
    pub(crate) fn check(&mut self, claims: &Value) -> Result<(), &'static str> {
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        // A string only: a list could also name other servers.
        if text("aud") != self.issuer {
            return Err("aud is not this issuer");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        match (claims["iat"].as_u64(), claims["exp"].as_u64()) {
            (Some(iat), _) if iat > now => return Err("iat is in the future"),
            (_, Some(exp)) if exp <= now => return Err("the assertion expired"),
            (Some(_), Some(exp)) if exp <= now + MAX_LIFETIME_SECONDS => {}
            (Some(_), Some(_)) => return Err("exp is too far in the future"),
            _ => return Err("iat or exp is missing"),
        }
        if text("jti").is_empty() {
            return Err("jti is missing");
        }
        if !self.used.insert(text("jti").to_owned()) {
            return Err("jti was used before");
        }
        Ok(())
    }
}

pub(crate) fn claims(assertion: &str) -> Option<Value> {
    let mut parts = assertion.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.is_object().then_some(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap().as_secs()
    }

    fn check(
        server: &mut Assertions,
        change: impl Fn(&mut Value, &mut TokenRequestRecord, &mut String),
    ) -> Result<(), &'static str> {
        let mut claims = json!({
            "iss": "orders", "sub": "orders", "aud": "https://login.example",
            "iat": now(), "exp": now() + 60, "jti": "1",
        });
        let mut record = TokenRequestRecord {
            form: vec![("client_assertion_type".to_owned(), TYPE.to_owned())],
            ..TokenRequestRecord::default()
        };
        let mut signature = "s3cr3t".to_owned();
        change(&mut claims, &mut record, &mut signature);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        let clients = [
            Client::new("orders", "s3cr3t")
                .assertions(|text, secret| text.rsplit_once('.').unwrap().1 == secret),
            Client::new("other", "s3cr3t"),
        ];
        let assertion = format!("e30.{claims}.{signature}");
        let result = server.authenticate(&assertion, &mut record, &clients);
        result
            .map(|client| assert_eq!(client.id, "orders"))
            .map_err(|refusal| refusal.2)
    }

    // covers: C-44, C-45, C-46, C-47, C-48
    #[test]
    fn a_strict_server_accepts_a_valid_assertion_once() {
        let server = &mut Assertions::new("https://login.example".to_owned());
        let claim = |name: &'static str, value: Value| {
            move |claims: &mut Value, _: &mut _, _: &mut _| claims[name] = value.clone()
        };
        for (name, value, why) in [
            ("iss", json!("other"), "iss is not the client"),
            ("sub", json!("other"), "no such client that uses assertions"),
            (
                "sub",
                json!("nobody"),
                "no such client that uses assertions",
            ),
            (
                "aud",
                json!("https://login.example/token"),
                "aud is not this issuer",
            ),
            (
                "aud",
                json!(["https://login.example"]),
                "aud is not this issuer",
            ),
            ("iat", json!(now() + 60), "iat is in the future"),
            ("exp", json!(now() - 1), "the assertion expired"),
            ("exp", json!(now() + 3_600), "exp is too far in the future"),
            ("exp", json!("soon"), "iat or exp is missing"),
            ("jti", json!(""), "jti is missing"),
        ] {
            assert_eq!(check(server, claim(name, value)), Err(why), "{name}");
        }
        let unsigned = |_: &mut _, _: &mut _, signature: &mut String| signature.push('x');
        let why = "the assertion is not signed by the client";
        assert_eq!(check(server, unsigned), Err(why));
        let sent = |name: &'static str, value: &'static str| {
            move |_: &mut _, record: &mut TokenRequestRecord, _: &mut _| {
                record.form.insert(0, (name.to_owned(), value.to_owned()));
            }
        };
        let why = "client_id and assertion differ";
        assert_eq!(check(server, sent("client_id", "other")), Err(why));
        let why = "the assertion's type is not jwt-bearer";
        assert_eq!(
            check(server, sent("client_assertion_type", "jwt")),
            Err(why)
        );

        assert_eq!(check(server, sent("client_id", "orders")), Ok(()));
        let again = check(server, |_, _, _| ());
        assert_eq!(again, Err("jti was used before"));
        assert_eq!(check(server, claim("jti", json!("2"))), Ok(()));
    }
}
