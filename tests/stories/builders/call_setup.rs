//! The URLs of the servers of a call, and the inputs of the call.

use std::sync::Arc;

use hallpass::{Prover, TokenRequest, jwt::Dpop};

use super::{
    method::Method,
    run::{ID, WeakProver, World},
    server::{Answer, PROXIED_HOST},
};

/// An origin of the server.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// HTTPS, and a host that the proxy knows.
    Named,
    /// HTTPS, and an address of this machine.
    Local,
    /// Plain HTTP, and an address of this machine.
    Plain,
}

/// The URLs of an authorization server.
#[derive(Clone, Copy)]
pub(super) struct ServerUrls<'a> {
    pub(super) world: &'a World,
    /// The first segment of each path: one port serves all calls.
    pub(super) path_prefix: u32,
    pub(super) issuer: Origin,
    pub(super) endpoints: Origin,
    pub(super) is_prover_weak: bool,
}

impl<'a> ServerUrls<'a> {
    pub(super) fn new(world: &'a World, path_prefix: u32, origin: Origin) -> Self {
        Self {
            world,
            path_prefix,
            issuer: origin,
            endpoints: origin,
            is_prover_weak: false,
        }
    }

    /// Returns this prover, or the weak one if the setup has it.
    pub(super) fn dpop(&self, own: &Dpop) -> Arc<dyn Prover> {
        if self.is_prover_weak {
            Arc::new(WeakProver)
        } else {
            Arc::new(own.clone())
        }
    }

    pub(super) fn origin(&self, origin: Origin) -> String {
        let address = self.world.server.address;
        match origin {
            Origin::Named => format!("https://{PROXIED_HOST}:{}", address.port()),
            Origin::Local => format!("https://{address}"),
            Origin::Plain => format!("http://{address}"),
        }
    }

    pub(super) fn issuer(&self) -> String {
        format!("{}/{}", self.origin(self.issuer), self.path_prefix)
    }

    pub(super) fn url(&self, path: &str) -> String {
        let origin = self.origin(self.endpoints);
        format!("{origin}/{}/{path}", self.path_prefix)
    }

    /// Returns the URLs of a second authorization server, under the next prefix.
    pub(super) fn second_server(&self) -> Self {
        Self::new(self.world, self.path_prefix + 1, Origin::Named)
    }
}

/// The inputs of a call, and the response of the server.
pub(super) struct CallSetup {
    pub(super) issuer: Origin,
    pub(super) endpoints: Origin,
    pub(super) id: &'static str,
    pub(super) method: Method,
    /// True if each proof of a client is one of `WeakProver`.
    pub(super) is_prover_weak: bool,
    pub(super) request: TokenRequest,
    pub(super) answer: Answer,
    /// Moves clocks before a second call of the client, whose result counts.
    pub(super) later: Option<fn(&World)>,
}

impl CallSetup {
    pub(super) fn new(method: Method) -> Self {
        Self {
            issuer: Origin::Named,
            endpoints: Origin::Named,
            id: ID,
            method,
            is_prover_weak: false,
            request: TokenRequest::default(),
            answer: Answer::default(),
            later: None,
        }
    }
}
