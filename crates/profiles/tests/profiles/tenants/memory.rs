//! The memory of a tenant, and the allocations of a hit.

use std::fmt::Write as _;

use allocation_counter::measure;
use hallpass_core::{TokenError, TokenRequest, TokenSource as _};
use hallpass_profiles::{Profiles, Tenants};
use hallpass_testkit::FakeTokens;
use tempfile::TempDir;

const TENANTS: usize = 1_000;

/// With its profile, its settings and its cache.
#[test]
fn a_tenant_without_a_token_takes_at_most_4_kib() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tenants.toml");
    let mut text = String::new();
    for number in 0..TENANTS {
        writeln!(text, "[profile.tenant-{number}]").unwrap();
        writeln!(text, "issuer = 'https://login.example/tenant-{number}'").unwrap();
        writeln!(text, "client_id = 'client-of-tenant-{number}'").unwrap();
        writeln!(text, "client_secret = 'file:/run/secrets/tenant-{number}'").unwrap();
        writeln!(text, "scope = 'orders.read orders.write'").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let mut tenants = None;
    let taken = measure(|| {
        let loaded = Tenants::builder().load(Profiles::builder().file(&path));
        let loaded = loaded.unwrap();
        for number in 0..TENANTS {
            loaded.source(&format!("tenant-{number}")).unwrap();
        }
        tenants = Some(loaded);
    });
    assert_eq!(tenants.unwrap().len(), TENANTS);
    let each = taken.bytes_current / 1_000;
    assert!((1_024..=4_096).contains(&each), "{each} bytes");
}

#[tokio::test]
async fn a_hit_of_a_tenant_allocates_nothing() {
    let tenants = Tenants::from_fn(|_| Ok::<_, TokenError>(FakeTokens::valid()));
    let source = tenants.source("a").unwrap();
    let request = TokenRequest::default();
    source.token(&request).await.unwrap();
    let hit = || drop(source.ready_token(&request).unwrap());
    hit();
    assert_eq!(measure(hit).count_total, 0);
    // So does the look-up of a tenant in use.
    assert_eq!(measure(|| drop(tenants.source("a"))).count_total, 0);
    // The control: an allocation is counted.
    assert_eq!(measure(|| drop(Box::new(1))).count_total, 1);
}
