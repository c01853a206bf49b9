//! What a request is put together again from, should its token be refused.
//!
//! A copy of each request, for the few that are refused, would allocate its URL, its headers and its extensions anew.
//! So only that is kept which does not come back with the response, and which reqwest lets nobody see any more.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body as _;
use reqwest::{Body, Method, Request, Url, Version};

use crate::headers::Headers;

/// A request as it is before the token is on it.
pub(crate) enum Spare {
    Parts(Parts),
    Whole(Box<Request>),
}

/// All of a request but its URL, which the response brings back.
///
/// Extensions are not among them: only a request with a body has some, when it was made from an `http::Request`, and
/// the client reads none but the timeout.
pub(crate) struct Parts {
    place: Place,
    method: Method,
    version: Version,
    timeout: Option<Duration>,
    headers: Headers,
    body: Option<Bytes>,
}

impl Spare {
    /// `None` where the body is a stream. With `extensions`, those of the request are kept too: what is below may look
    /// at them.
    #[inline]
    pub(crate) fn of(request: &mut Request, extensions: bool) -> Option<Self> {
        if extensions && request.body().is_some() {
            return Some(Self::Whole(Box::new(request.try_clone()?)));
        }
        let body = match request.body_mut() {
            Some(body) => Some(share(body)?),
            None => None,
        };
        Some(Self::Parts(Parts {
            place: Place::of(request.url()),
            method: request.method().clone(),
            version: request.version(),
            timeout: request.timeout().copied(),
            headers: Headers::of(request.headers()),
            body,
        }))
    }

    /// The request once more, where its response came from the place that it was sent to. What was redirected may have
    /// done its work before, and is not sent again.
    pub(crate) fn for_another_try(self, came_from: &Url) -> Option<Request> {
        match self {
            Self::Parts(parts) if parts.place.is(came_from) => {
                Some(parts.put_together(came_from.clone()))
            }
            Self::Whole(request) if sent(request.url()) == sent(came_from) => Some(*request),
            _ => None,
        }
    }
}

impl Parts {
    fn put_together(self, url: Url) -> Request {
        let mut request = Request::new(self.method, url);
        *request.version_mut() = self.version;
        // Not even an empty one, which would be put among the extensions.
        if self.timeout.is_some() {
            *request.timeout_mut() = self.timeout;
        }
        self.headers.put_into(request.headers_mut());
        *request.body_mut() = self.body.map(Body::from);
        request
    }
}

/// A second handle on a body in memory; `None` for a stream.
///
/// reqwest gives no such handle away, but yields the body to whoever polls it; then it is put back. It comes in one
/// piece, which is not copied: pieces would be joined.
fn share(body: &mut Body) -> Option<Bytes> {
    let length = body.as_bytes()?.len();
    let mut whole = Bytes::new();
    while whole.len() < length {
        let piece = next_piece(body)?;
        whole = if whole.is_empty() {
            piece
        } else {
            [whole, piece].concat().into()
        };
    }
    *body = whole.clone().into();
    Some(whole)
}

fn next_piece(body: &mut Body) -> Option<Bytes> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(body).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok().filter(|piece| !piece.is_empty()),
        _ => None,
    }
}

/// A URL as a number that a server cannot guess, and so cannot redirect to.
struct Place {
    number: u64,
    salt: u64,
}

impl Place {
    #[inline]
    fn of(url: &Url) -> Self {
        // Where this text lies in memory is told to nobody, and is at hand.
        let salt = url.as_str().as_ptr().addr() as u64;
        Self {
            number: number(url, salt),
            salt,
        }
    }

    fn is(&self, url: &Url) -> bool {
        number(url, self.salt) == self.number
    }
}

/// A multiplication for eight bytes. The hasher of the standard library is made for more, and takes several times as
/// long, code that is not at hand included; this is on the way of every request.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn number(url: &Url, salt: u64) -> u64 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: &[u8; 8]| {
        let product = u128::from(state ^ u64::from_le_bytes(*word)) * FACTOR;
        // Both halves, one over the other.
        (product as u64) ^ ((product >> 64) as u64)
    };
    let sent = sent(url).as_bytes();
    // The last one laps over the one before: with a scheme and a host there are eight bytes.
    let words = sent.as_chunks().0.iter().chain(sent.last_chunk());
    words.fold(salt ^ sent.len() as u64, fold)
}

/// A URL but for its fragment, which is not sent.
#[inline]
fn sent(url: &Url) -> &str {
    let fragment = url.fragment().map_or(0, |fragment| 1 + fragment.len());
    &url.as_str()[..url.as_str().len() - fragment]
}

#[cfg(test)]
mod tests;
