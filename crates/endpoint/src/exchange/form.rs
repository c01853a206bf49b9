//! The body of a token request: the grant's parameters, then the client's credentials.

use hallpass_core::TokenRequest;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::authentication::{Credentials, Proof};

/// Returns the request's parameters except the scopes.
fn beside_scopes(request: &TokenRequest) -> impl Iterator<Item = (&str, &str)> {
    (request.resources().map(|value| ("resource", value)))
        .chain(request.audiences().map(|value| ("audience", value)))
        .chain(request.parameters())
}

/// Writes exactly these parameters, as [`grant`] does.
pub(crate) fn of(pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    grant(pairs, &TokenRequest::new())
}

/// Writes the parameters of a grant, then the request's; never reallocated, so no copy remains in memory.
pub(crate) fn grant(pairs: &[(&str, &str)], request: &TokenRequest) -> Zeroizing<Vec<u8>> {
    let scope = request.scopes();
    let all = || {
        let scope = (!scope.is_empty()).then_some(("scope", scope.as_str()));
        let pairs = pairs.iter().copied().chain(scope);
        pairs.chain(beside_scopes(request))
    };
    let length: usize = all().map(encoded).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(length));
    form.extend_pairs(all());
    Zeroizing::new(form.finish().into_bytes())
}

/// Returns the maximum encoded length of a parameter: three bytes per byte.
fn encoded((name, value): (&str, &str)) -> usize {
    3 * (name.len() + value.len()) + 2
}

/// Joins the grant's parameters and the client's credentials; wiped from memory after sending.
pub(crate) fn body(grant: &[u8], credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let Proof::Parameters(parameters) = &credentials.proof else {
        return Zeroizing::new(grant.to_vec());
    };
    // Never reallocated, so no copy remains in memory.
    let proof: usize = parameters
        .iter()
        .map(|(name, value)| encoded((name, value)))
        .sum();
    let mut body = String::with_capacity(grant.len() + proof);
    body.push_str(std::str::from_utf8(grant).unwrap_or_default());
    let mut form = form_urlencoded::Serializer::for_suffix(body, 0);
    for (name, value) in parameters {
        form.append_pair(name, value);
    }
    Zeroizing::new(form.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use hallpass_core::ScopeSet;
    use proptest::prelude::*;

    use super::*;

    const GRANT: [(&str, &str); 1] = [("grant_type", "client_credentials")];

    fn decode(body: &[u8]) -> Vec<(String, String)> {
        form_urlencoded::parse(body).into_owned().collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    /// Returns a request with every kind of parameter.
    fn of_all_kinds() -> TokenRequest {
        TokenRequest::new()
            .with_scopes("b a".parse::<ScopeSet>().unwrap())
            .with_resource("https://x.example/")
            .unwrap()
            .with_resource("https://y.example/")
            .unwrap()
            .with_audience("orders")
            .unwrap()
            .with_parameter("tenant", "t&1")
            .unwrap()
    }

    // covers: C-08, C-09, C-10, C-11, C-12, C-14, C-61
    #[test]
    fn everything_that_was_asked_is_sent_once() {
        let request = of_all_kinds();
        let proof = Credentials::parameters([("client_id", "i d"), ("client_secret", "=&+%ü")]);
        let body = body(&grant(&GRANT, &request), &proof);
        assert_eq!(
            decode(&body),
            pairs(&[
                ("grant_type", "client_credentials"),
                ("scope", "a b"),
                ("resource", "https://x.example/"),
                ("resource", "https://y.example/"),
                ("audience", "orders"),
                ("tenant", "t&1"),
                ("client_id", "i d"),
                ("client_secret", "=&+%ü"),
            ])
        );
    }

    // covers: C-10, C-61
    #[test]
    fn every_grant_sends_what_was_asked_once() {
        let request = of_all_kinds();
        let form = grant(&[("grant_type", "urn:x"), ("assertion", "=&+%ü")], &request);
        let expected = pairs(&[
            ("grant_type", "urn:x"),
            ("assertion", "=&+%ü"),
            ("scope", "a b"),
            ("resource", "https://x.example/"),
            ("resource", "https://y.example/"),
            ("audience", "orders"),
            ("tenant", "t&1"),
        ]);
        assert_eq!(decode(&form), expected);
        let form = grant(&[("grant_type", "x")], &TokenRequest::default());
        assert_eq!(*form, b"grant_type=x");
    }

    // covers: C-08
    #[test]
    fn a_header_leaves_the_form_alone() {
        let proof = Credentials::authorization(http::HeaderValue::from_static("Basic eA=="));
        assert_eq!(*body(b"grant_type=x", &proof), b"grant_type=x");
    }

    proptest! {
        // covers: F-115, C-09
        #[test]
        fn values_survive_the_form(id in "\\PC{1,12}", secret in any::<String>(), value in ".{1,12}") {
            let request = TokenRequest::new().with_parameter("x", &value).unwrap();
            let proof = Credentials::parameters([("client_id", id.as_str()), ("client_secret", &secret)]);
            let body = body(&grant(&GRANT, &request), &proof);
            let expected = pairs(&[
                ("grant_type", "client_credentials"), ("x", &value), ("client_id", &id), ("client_secret", &secret),
            ]);
            prop_assert_eq!(decode(&body), expected);
        }
    }
}
