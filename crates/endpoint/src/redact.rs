//! Takes out of a server's words whatever secret it echoes.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::authentication::{Credentials, Proof, form_encode};

const MARK: &str = "[redacted]";

/// The secrets of one attempt, in each spelling that a server could send back.
#[derive(Default)]
pub(crate) struct Redactor(Vec<Zeroizing<String>>);

impl Redactor {
    /// All that the credentials hold, but the `client_id`, which is no secret and helps to read an error.
    pub(crate) fn new(credentials: &Credentials, client_id: &str) -> Self {
        let mut redactor = Self::default();
        match &credentials.proof {
            Proof::Header(value) => {
                let header = value.to_str().unwrap_or_default();
                let (_, encoded) = header.split_once(' ').unwrap_or(("", header));
                redactor.add(encoded);
                // What Basic wraps, in both encodings: `id:secret`.
                let plain = BASE64_STANDARD.decode(encoded).map(Zeroizing::new);
                if let Some((_, secret)) = plain
                    .as_ref()
                    .ok()
                    .and_then(|plain| std::str::from_utf8(plain).ok())
                    .and_then(|plain| plain.split_once(':'))
                {
                    redactor.add(secret);
                    let decoded = percent_encoding::percent_decode_str(secret).decode_utf8();
                    if let Ok(decoded) = decoded {
                        redactor.add(&decoded);
                    }
                }
            }
            Proof::Parameters(parameters) => {
                for (name, value) in parameters {
                    if value.as_str() != client_id && *name != "client_assertion_type" {
                        redactor.add(value);
                    }
                    if *name == "client_assertion" {
                        redactor.add_signature(value);
                    }
                }
            }
        }
        redactor
    }

    /// Adds a secret with its spellings.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let encoded = form_encode(secret).to_string();
        let spellings = [
            secret.to_owned(),
            encoded.replace("%20", "+"),
            encoded.to_lowercase(),
            encoded,
            BASE64_STANDARD.encode(secret),
        ];
        for spelling in spellings.map(Zeroizing::new) {
            if !self.0.contains(&spelling) {
                self.0.push(spelling);
            }
        }
        // The longest first, or a part would be taken out of it and leave the rest.
        self.0
            .sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    }

    /// Adds what of an assertion is secret by itself: the rest of it can be guessed, but for a random number.
    pub(crate) fn add_signature(&mut self, assertion: &str) {
        let (_, signature) = assertion.rsplit_once('.').unwrap_or_default();
        self.add(signature);
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), MARK);
            }
        }
        clean
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(..)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // covers: F-33
    #[test]
    fn echoes_are_taken_out_in_every_spelling() {
        let credentials =
            Credentials::parameters([("client_id", "orders"), ("client_secret", "s p/1~")]);
        let redactor = Redactor::new(&credentials, "orders");
        for echo in [
            "s p/1~",
            "s%20p%2F1%7E",
            "s+p%2F1%7E",
            "s%20p%2f1%7e",
            "cyBwLzF+",
        ] {
            let clean = redactor.clean(&format!("orders sent {echo}."));
            assert_eq!(clean, format!("orders sent {MARK}."));
        }
        assert_eq!(redactor.clean("nothing here"), "nothing here");
    }

    // covers: F-33
    #[test]
    fn an_echoed_assertion_is_taken_out_and_its_type_is_not() {
        const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let credentials = Credentials::parameters([
            ("client_assertion_type", TYPE),
            ("client_assertion", "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"),
        ]);
        let redactor = Redactor::new(&credentials, "orders");
        for (echo, clean) in [
            ("aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl", MARK),
            ("Y2xhaW1z.c2lnbmF0dXJl", "Y2xhaW1z.[redacted]"),
            (TYPE, TYPE),
        ] {
            assert_eq!(redactor.clean(echo), clean);
        }
    }

    // covers: F-33
    #[test]
    fn an_echoed_basic_header_is_taken_out_too() {
        let value = format!("Basic {}", BASE64_STANDARD.encode("id:p%40ss"));
        let credentials = Credentials::authorization(HeaderValue::from_str(&value).unwrap());
        let redactor = Redactor::new(&credentials, "id");
        for echo in [value.strip_prefix("Basic ").unwrap(), "p%40ss", "p@ss"] {
            assert_eq!(
                redactor.clean(&format!("got {echo}")),
                format!("got {MARK}")
            );
        }
    }
}
