//! The nonces that servers issued, each for proofs to that server (RFC 9449 sections 8 and 9).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hallpass_core::ProofRequest;

/// The maximum number of origins of each kind; beyond it, the least recently updated one is dropped.
const MAX_ORIGINS: usize = 64;

/// The latest nonce of each server. Authorization servers and APIs are separate, even at one origin.
#[derive(Default)]
pub(super) struct Nonces {
    authorization_servers: Mutex<Vec<ServerNonce>>,
    resource_servers: Mutex<Vec<ServerNonce>>,
}

struct ServerNonce {
    origin: Box<str>,
    nonce: Arc<str>,
}

impl Nonces {
    pub(super) fn latest(&self, request: &ProofRequest<'_>) -> Option<Arc<str>> {
        let known = self.servers(request).lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let index = position(&known, request.origin())?;
        Some(known[index].nonce.clone())
    }

    pub(super) fn keep(&self, request: &ProofRequest<'_>, nonce: &str) {
        let known = self.servers(request).lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let before = position(&known, request.origin());
        // Servers repeat the current nonce in each response.
        if before.is_some_and(|index| *known[index].nonce == *nonce) {
            return;
        }
        match before {
            Some(index) => drop(known.remove(index)),
            None if known.len() == MAX_ORIGINS => drop(known.remove(0)),
            None => {}
        }
        known.push(ServerNonce {
            origin: request.origin().into(),
            nonce: nonce.into(),
        });
    }

    fn servers(&self, request: &ProofRequest<'_>) -> &Mutex<Vec<ServerNonce>> {
        match request.expose_token() {
            None => &self.authorization_servers,
            Some(_) => &self.resource_servers,
        }
    }
}

fn position(known: &[ServerNonce], origin: &str) -> Option<usize> {
    known.iter().position(|known| *known.origin == *origin)
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hallpass_core::{AccessToken, Clock as _, SystemClock};
    use http::Method;

    use super::*;

    // covers: C-71
    #[test]
    fn nonces_are_separate_per_server_and_role() {
        let moment = SystemClock.moment();
        let token = AccessToken::bearer("t", moment, Duration::from_secs(60)).unwrap();
        let server = |url| ProofRequest::new(&Method::POST, url);
        let one = server("https://one.example/token");
        let one_as_api = server("https://one.example/userinfo").with_token(&token);
        let other = server("https://one.example:8443/token");
        let nonces = Nonces::default();
        assert!(nonces.latest(&one).is_none());
        nonces.keep(&one, "1");
        nonces.keep(&one_as_api, "2");
        assert!(nonces.latest(&other).is_none());
        nonces.keep(&other, "3");
        nonces.keep(&one, "1");
        nonces.keep(&other, "4");
        let all = [one, one_as_api, other].map(|request| nonces.latest(&request).unwrap());
        assert_eq!(all.each_ref().map(|nonce| &**nonce), ["1", "2", "4"]);
    }

    // covers: C-71
    #[test]
    fn the_oldest_nonce_is_dropped_beyond_the_maximum() {
        let nonces = Nonces::default();
        let url = |number: usize| format!("https://api-{number}.example/");
        for number in 0..MAX_ORIGINS {
            nonces.keep(&ProofRequest::new(&Method::GET, &url(number)), "n");
        }
        nonces.keep(&ProofRequest::new(&Method::GET, &url(0)), "renewed");
        nonces.keep(&ProofRequest::new(&Method::GET, &url(MAX_ORIGINS)), "n");
        let has = |number| {
            let url = url(number);
            nonces
                .latest(&ProofRequest::new(&Method::GET, &url))
                .is_some()
        };
        assert!(has(0) && !has(1) && has(2) && has(MAX_ORIGINS));
        assert_eq!(
            nonces.authorization_servers.lock().unwrap().len(),
            MAX_ORIGINS
        );
    }
}
