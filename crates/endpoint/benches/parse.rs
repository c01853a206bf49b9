//! Reading token responses: a common one, and ever larger ones, which must cost in proportion.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hallpass_endpoint::internals::parse;

/// A response of about `kib` KiB, filled up with members that nobody knows.
fn response(kib: usize) -> String {
    let mut body = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600"#.to_owned();
    let mut at = 0;
    while body.len() < kib * 1_024 - 64 {
        write!(
            body,
            r#","member-{at:05}":{{"text":"\u00e9\n","list":[1,2.5]}}"#
        )
        .unwrap();
        at += 1;
    }
    body + "}"
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let token = "x".repeat(900);
    let common = format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600,"scope":"orders.read orders.write"}}"#
    );
    group.bench_function("common", |bencher| {
        bencher.iter(|| parse(common.as_bytes()));
    });
    for kib in [16, 64] {
        let body = response(kib);
        assert!(parse(body.as_bytes()).is_ok());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{kib}KiB"), |bencher| {
            bencher.iter(|| parse(body.as_bytes()));
        });
    }
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);
