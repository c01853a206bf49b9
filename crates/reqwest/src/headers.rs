//! The headers of a request, kept to be sent again.
//!
//! Every request with headers of its own keeps some, and hardly any needs them: so the lists go round, and take no
//! memory anew.

use std::{cell::RefCell, mem};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

type List = Vec<(HeaderName, HeaderValue)>;

/// How many lists a thread keeps for requests to come: as many as it may have on their way at once, and no memory to
/// speak of.
const LISTS: usize = 32;

/// A longer list is not kept.
const LONGEST: usize = 32;

thread_local! {
    static STOCK: RefCell<Vec<List>> = const { RefCell::new(Vec::new()) };
}

/// Headers in their order. Those of a request without any take no memory.
pub(crate) struct Headers(List);

impl Headers {
    #[inline]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(if headers.is_empty() {
            List::new()
        } else {
            copied(headers)
        })
    }

    pub(crate) fn put_into(mut self, headers: &mut HeaderMap) {
        for (name, value) in self.0.drain(..) {
            headers.append(name, value);
        }
    }
}

impl Drop for Headers {
    #[inline]
    fn drop(&mut self) {
        if self.0.capacity() > 0 {
            give_back(mem::take(&mut self.0));
        }
    }
}

#[inline(never)]
fn copied(headers: &HeaderMap) -> List {
    // A thread that ends has no stock any more.
    let kept = STOCK.try_with(|stock| stock.borrow_mut().pop());
    let mut list = kept.ok().flatten().unwrap_or_default();
    list.extend(
        headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    list
}

#[inline(never)]
fn give_back(mut list: List) {
    list.clear();
    if list.capacity() > LONGEST {
        return;
    }
    // Where the thread ends, the list ends too.
    let _ = STOCK.try_with(|stock| {
        let mut stock = stock.borrow_mut();
        if stock.len() < LISTS {
            stock.push(list);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock() -> Vec<usize> {
        STOCK.with(|stock| stock.borrow().iter().map(Vec::capacity).collect())
    }

    fn some(count: usize) -> HeaderMap {
        let value = HeaderValue::from_static("x");
        (0..count)
            .map(|number| {
                (
                    HeaderName::try_from(format!("x-{number}")).unwrap(),
                    value.clone(),
                )
            })
            .collect()
    }

    #[test]
    fn lists_go_round_and_are_not_hoarded() {
        assert!(stock().is_empty());
        drop(Headers::of(&some(0)));
        assert!(stock().is_empty(), "nothing to keep");

        let (first, second) = (Headers::of(&some(3)), Headers::of(&some(3)));
        assert!(stock().is_empty());
        drop((first, second));
        assert_eq!(stock().len(), 2);
        let mut sent = HeaderMap::new();
        Headers::of(&some(2)).put_into(&mut sent);
        assert_eq!(sent, some(2), "nothing of the requests before");
        assert_eq!(stock().len(), 2);

        let many: Vec<_> = (0..2 * LISTS).map(|_| Headers::of(&some(1))).collect();
        drop(many);
        assert_eq!(stock().len(), LISTS);
        let before = stock();
        let held: Vec<_> = (0..LISTS).map(|_| Headers::of(&some(1))).collect();
        drop(Headers::of(&some(2 * LONGEST)));
        assert!(stock().is_empty(), "too long a list");
        drop(held);
        assert_eq!(stock().len(), before.len());
    }
}
