//! A cell of the table, and the rule for its result.
//!
//! The rule, from RFC 9110 section 15.4, RFC 9449 section 4.2 and docs/transport.md:
//!
//! 1. Only 301, 302, 303, 307 and 308 with a readable `Location` redirect; any other response is returned.
//! 2. A client follows if its policy does: a caller's reqwest client by default anywhere, one with
//!    `same_origin_redirects` and a `TokenClient` within the origin, and a `TokenClient` never with a proof, which names
//!    its URL. hyper, ureq below us, and the transport of an authorization server's endpoints follow nothing.
//! 3. 303 becomes GET, unless it is HEAD; 301 and 302 turn POST into GET, as browsers do; 307 and 308 change nothing. A
//!    changed method has no body. A body that is sent again must be in memory; otherwise the redirect is returned.
//! 4. The token goes along within scheme, host and port, and nowhere else.
//! 5. Each request is sent once. A refused token leads to one more only if that does no harm: the method is safe, and
//!    there is no body.
//! 6. A redirect of an endpoint's request is an error of the configuration.

use http::Method;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A caller's reqwest client with the default policy, and `send_with`.
    Plain,
    /// One with `same_origin_redirects`.
    SameOrigin,
    /// A `TokenClient`.
    Ours,
    /// A `TokenMiddleware` on a client with the default policy.
    Middleware,
    /// A `TokenLayer` on hyper's client.
    Tower,
    /// reqwest's blocking client with the default policy.
    Blocking,
    /// An agent of ureq.
    Ureq,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Plain,
        Self::SameOrigin,
        Self::Ours,
        Self::Middleware,
        Self::Tower,
        Self::Blocking,
        Self::Ureq,
    ];

    /// Returns true if the policy of the client is not ours, and follows redirects anywhere.
    pub(super) fn follows_anywhere(self) -> bool {
        matches!(self, Self::Plain | Self::Middleware | Self::Blocking)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Body {
    None,
    Memory,
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binding {
    Bearer,
    Dpop,
    /// A bearer token on connections that present a certificate.
    Certificate,
}

/// The destination of the redirect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum To {
    SameOrigin,
    Relative,
    Port,
    Host,
    /// From HTTP to HTTPS at the same host and port.
    Https,
    /// From HTTPS to HTTP at the same host and port.
    Http,
    Missing,
    Damaged,
}

impl To {
    pub(super) const ALL: [Self; 8] = [
        Self::SameOrigin,
        Self::Relative,
        Self::Port,
        Self::Host,
        Self::Https,
        Self::Http,
        Self::Missing,
        Self::Damaged,
    ];

    fn is_same_origin(self) -> bool {
        matches!(self, Self::SameOrigin | Self::Relative)
    }

    fn is_readable(self) -> bool {
        !matches!(self, Self::Missing | Self::Damaged)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) status: u16,
    pub(super) method: Method,
    pub(super) body: Body,
    pub(super) binding: Binding,
    pub(super) to: To,
    /// True if the destination refuses the token once.
    pub(super) refused: bool,
}

/// The proof of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Proof {
    None,
    /// For its own method and URL.
    Own,
    /// For those of an earlier request.
    Stale,
}

/// A request as a server sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hop {
    /// True for the destination of the redirect.
    pub(super) landed: bool,
    pub(super) method: Method,
    pub(super) token: bool,
    pub(super) proof: Proof,
    pub(super) has_body: bool,
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let mut cells = Vec::new();
        for kind in Kind::ALL {
            for status in 300..=308 {
                for method in methods {
                    for body in [Body::None, Body::Memory, Body::Stream] {
                        for binding in [Binding::Bearer, Binding::Dpop, Binding::Certificate] {
                            for to in To::ALL {
                                for refused in [false, true] {
                                    cells.push(Self {
                                        kind,
                                        status,
                                        method: method.parse().unwrap(),
                                        body,
                                        binding,
                                        to,
                                        refused,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        cells.retain(Self::exists);
        cells
    }

    /// Returns true if the request starts over TLS.
    pub(super) fn starts_over_tls(&self) -> bool {
        self.to == To::Http || self.binding == Binding::Certificate
    }

    /// Excludes what cannot happen, and what another cell has.
    fn exists(&self) -> bool {
        // ureq refuses a body of such a method.
        let bodiless = matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE");
        match self.kind {
            Kind::Ureq if bodiless && self.body != Body::None => return false,
            // Its own error, at times, if the redirect arrives before it has closed the stream.
            Kind::Blocking if self.body == Body::Stream => return false,
            _ => {}
        }
        let method = self.method.as_str();
        let has_usual_body = self.body != Body::Stream || matches!(method, "POST" | "PUT");
        // The destination of what is no redirect does not matter.
        let has_usual_destination =
            self.redirects() || matches!(self.to, To::SameOrigin | To::Missing);
        let has_usual_certificate = self.binding != Binding::Certificate
            || self.to != To::Https
                && self.body != Body::Stream
                && matches!(method, "GET" | "POST");
        let is_refused = self.to.is_same_origin() && self.is_followed();
        has_usual_body
            && has_usual_destination
            && has_usual_certificate
            && (is_refused || !self.refused)
    }

    fn redirects(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    fn is_followed(&self) -> bool {
        let policy = match self.kind {
            kind if kind.follows_anywhere() => true,
            Kind::SameOrigin => self.to.is_same_origin(),
            Kind::Ours => self.to.is_same_origin() && self.binding != Binding::Dpop,
            _ => false,
        };
        let drops_body = self.status == 303 || self.next_method() != self.method;
        let repeatable = self.body != Body::Stream || drops_body;
        self.redirects() && self.to.is_readable() && policy && repeatable
    }

    fn next_method(&self) -> Method {
        match (self.status, self.method.as_str()) {
            (303, "HEAD") => Method::HEAD,
            (303, _) | (301 | 302, "POST") => Method::GET,
            _ => self.method.clone(),
        }
    }

    /// Returns the requests, in order, and the status that the caller gets.
    pub(super) fn expected(&self) -> (Vec<Hop>, u16) {
        let has_body = self.body != Body::None;
        let is_dpop = self.binding == Binding::Dpop;
        let start = Hop {
            landed: false,
            method: self.method.clone(),
            token: true,
            proof: if is_dpop { Proof::Own } else { Proof::None },
            has_body,
        };
        if !self.is_followed() {
            return (vec![start], self.status);
        }
        let method = self.next_method();
        let landed = Hop {
            landed: true,
            has_body: has_body && self.status != 303 && method == self.method,
            method,
            token: self.to.is_same_origin(),
            // reqwest forwards it as any other header, also to another origin (docs/dpop.md).
            proof: if is_dpop { Proof::Stale } else { Proof::None },
        };
        let once = vec![start, landed];
        if !self.refused {
            return (once, 200);
        }
        if self.method.is_safe() && !has_body {
            return ([once.clone(), once].concat(), 200);
        }
        (once, 401)
    }
}
