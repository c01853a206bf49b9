//! The addresses of a run, and the circumstances of its call.

use hallpass::TokenRequest;

use super::{
    method::Method,
    run::{ID, World},
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

/// The addresses of a run.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) world: &'a World,
    pub(super) run: u32,
    pub(super) issuer: Origin,
    pub(super) endpoints: Origin,
}

impl<'a> Site<'a> {
    pub(super) fn new(world: &'a World, run: u32, origin: Origin) -> Self {
        Self {
            world,
            run,
            issuer: origin,
            endpoints: origin,
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
        format!("{}/{}", self.origin(self.issuer), self.run)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{}/{path}", self.origin(self.endpoints), self.run)
    }

    /// Returns the site of another server of the same run.
    pub(super) fn next(&self) -> Self {
        Self::new(self.world, self.run + 1, Origin::Named)
    }
}

/// The circumstances of a call.
pub(super) struct Scene {
    pub(super) issuer: Origin,
    pub(super) endpoints: Origin,
    pub(super) id: &'static str,
    pub(super) method: Method,
    pub(super) request: TokenRequest,
    pub(super) answer: Answer,
    /// Moves clocks before a second call of the client, whose result counts.
    pub(super) later: Option<fn(&World)>,
}

impl Scene {
    pub(super) fn new(method: Method) -> Self {
        Self {
            issuer: Origin::Named,
            endpoints: Origin::Named,
            id: ID,
            method,
            request: TokenRequest::default(),
            answer: Answer::default(),
            later: None,
        }
    }
}
