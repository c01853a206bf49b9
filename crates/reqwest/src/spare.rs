//! What a request is put together again from, should its token be refused.
//!
//! A copy of each request, for the few that are refused, would allocate its URL, its headers and its extensions anew.
//! So only that is kept which does not come back with the response, and which reqwest lets nobody see any more.

use std::{
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body as _;
use reqwest::{
    Body, Method, Request, Url, Version,
    header::{HeaderName, HeaderValue},
};

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
    sent_to: u64,
    method: Method,
    version: Version,
    timeout: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
}

impl Spare {
    /// `None` where the body is a stream. With `extensions`, those of the request are kept too: what is below may look
    /// at them.
    pub(crate) fn of(request: &mut Request, extensions: bool) -> Option<Self> {
        if extensions && request.body().is_some() {
            return Some(Self::Whole(Box::new(request.try_clone()?)));
        }
        let body = match request.body_mut() {
            Some(body) => Some(share(body)?),
            None => None,
        };
        let headers = request.headers().iter();
        Some(Self::Parts(Parts {
            sent_to: place(request.url()),
            method: request.method().clone(),
            version: request.version(),
            timeout: request.timeout().copied(),
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body,
        }))
    }

    /// The request once more, where its response came from the place that it was sent to. What was redirected may have
    /// done its work before, and is not sent again.
    pub(crate) fn for_another_try(self, came_from: &Url) -> Option<Request> {
        match self {
            Self::Parts(parts) => {
                (parts.sent_to == place(came_from)).then(|| parts.put_together(came_from.clone()))
            }
            Self::Whole(request) => (place(request.url()) == place(came_from)).then_some(*request),
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
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
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

/// A URL but for its fragment, which is not sent: as a number that a server cannot guess, and so cannot redirect to.
///
/// A multiplication for eight bytes, with keys of this process. The hasher of the standard library is made for more, and
/// takes several times as long, code that is not at hand included; this is on the way of every request.
#[allow(clippy::cast_possible_truncation)]
fn place(url: &Url) -> u64 {
    static KEYS: LazyLock<[u64; 2]> =
        LazyLock::new(|| [(); 2].map(|()| RandomState::new().hash_one(())));
    let [key, start] = *KEYS;
    let text = url.as_str();
    let fragment = url.fragment().map_or(0, |fragment| 1 + fragment.len());
    let sent = &text.as_bytes()[..text.len() - fragment];
    let fold = |state: u64, bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let product = u128::from(state ^ u64::from_le_bytes(word)) * u128::from(key | 1);
        // Both halves, one over the other.
        (product as u64) ^ ((product >> 64) as u64)
    };
    sent.chunks(8).fold(start ^ sent.len() as u64, fold)
}

#[cfg(test)]
mod tests;
