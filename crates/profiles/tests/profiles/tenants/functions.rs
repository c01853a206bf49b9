//! Tenants whose sources a function builds.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use hallpass_core::{ErrorKind, TokenError};
use hallpass_profiles::Tenants;
use hallpass_testkit::FakeTokens;
use tokio::task::JoinSet;

use crate::tenants::support::token;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_builds_a_source_once_on_first_use() {
    let built = Arc::new(AtomicUsize::new(0));
    let tokens = FakeTokens::valid();
    let (counter, fake) = (built.clone(), tokens.clone());
    let tenants = Tenants::from_fn(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, TokenError>(fake.clone())
    });
    let a = tenants.source("a").unwrap();
    assert_eq!(built.load(Ordering::Relaxed), 0);
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let a = a.clone();
        callers.spawn(async move { token(&a).await.map(drop) });
    }
    for result in callers.join_all().await {
        result.unwrap();
    }
    assert_eq!((built.load(Ordering::Relaxed), tokens.calls()), (1, 1));
}

#[tokio::test]
async fn the_error_of_a_function_is_that_of_its_tenant() {
    let tenants = Tenants::from_fn(|tenant| match tenant {
        "down" => Err(BoxError::from(TokenError::unavailable("no database"))),
        "unknown" => Err("no such customer".into()),
        "panics" => panic!("a fault of the program"),
        _ => Ok(FakeTokens::valid()),
    });
    for (tenant, kind, says) in [
        ("down", ErrorKind::Unavailable, "no database"),
        (
            "unknown",
            ErrorKind::Configuration,
            "the source of the tenant `unknown` was not built: no such customer",
        ),
        ("panics", ErrorKind::Unavailable, "panicked"),
    ] {
        let error = token(&tenants.source(tenant).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        token(&tenants.source("fine").unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_removal_the_function_is_called_again() {
    let built = Arc::new(AtomicUsize::new(0));
    let counter = built.clone();
    let tenants = Tenants::from_fn(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, TokenError>(FakeTokens::valid())
    });
    token(&tenants.source("a").unwrap()).await.unwrap();
    // A reload changes nothing here.
    let reload = tenants.reload().await.unwrap();
    assert!(reload.changed.is_empty() && reload.removed.is_empty());
    token(&tenants.source("a").unwrap()).await.unwrap();
    assert_eq!(built.load(Ordering::Relaxed), 1);
    assert!(tenants.remove("a").await);
    token(&tenants.source("a").unwrap()).await.unwrap();
    assert_eq!(built.load(Ordering::Relaxed), 2);
}

#[test]
fn the_bound_holds_for_many_tenants() {
    let tenants = Tenants::builder().max_tenants(100);
    let tenants = tenants.build(|_| Ok::<_, TokenError>(FakeTokens::valid()));
    let used = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            tenants.source(&number.to_string()).unwrap();
        }
    };
    used(0..300);
    // The first of those that are left is used again, and the second one is held.
    used(200..201);
    let held = tenants.source("201").unwrap();
    used(300..350);
    let mut left: Vec<usize> = tenants
        .sources()
        .iter()
        .map(|source| source.name().parse().unwrap())
        .collect();
    left.sort_unstable();
    let expected: Vec<usize> = (200..202).chain(252..350).collect();
    assert_eq!(left, expected);
    drop(held);
}

#[test]
fn outside_of_a_runtime_nothing_panics() {
    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }
    let tenants = Tenants::from_fn(|_| Ok::<_, TokenError>(FakeTokens::valid()));
    let a = tenants.source("a").unwrap();
    let Poll::Ready(Err(error)) = poll(tenants.reload()) else {
        panic!("the reload waits");
    };
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    assert_eq!(poll(tenants.remove("a")), Poll::Ready(true));
    let Poll::Ready(Err(error)) = poll(token(&a)) else {
        panic!("the call waits");
    };
    assert!(error.to_string().contains("was removed"), "{error}");
    let _b = tenants.source("b").unwrap();
    assert_eq!(poll(tenants.shutdown()), Poll::Ready(()));
}
