//! Many tenants: building the source of one more, its memory, and a hit.
//!
//! The server is on loopback, without TLS; the secrets are in files.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use hallpass_core::{TokenRequest, TokenSource};
use hallpass_profiles::{Profiles, Selection, Tenants};
use hallpass_testkit::raw::{self, RawServer};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const TENANTS: usize = 1_000;
/// Tenants beyond the thousand, each measured.
const MEASURED: usize = 200;

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let answer = format!(
        r#"{{"access_token":"{}","token_type":"bearer","expires_in":3600}}"#,
        "x".repeat(900)
    );
    let server = runtime.block_on(RawServer::always(raw::json(200, answer).unrecorded()));
    let directory = TempDir::new().unwrap();
    let file = write_profiles(&server.url("/token"), directory.path());
    memory(&file);
    let tenants = load(&file);
    build(&tenants, &runtime);
    hit(&tenants);
}

fn write_profiles(endpoint: &str, directory: &Path) -> PathBuf {
    let mut text = String::new();
    for number in 0..TENANTS + MEASURED {
        let secret = directory.join(format!("tenant-{number}"));
        fs::write(&secret, "s3cr3t").unwrap();
        writeln!(text, "[profile.tenant-{number}]").unwrap();
        writeln!(text, "token_endpoint = '{endpoint}'").unwrap();
        writeln!(text, "client_id = 'client-of-tenant-{number}'").unwrap();
        writeln!(text, "client_secret = 'file:{}'", secret.display()).unwrap();
        writeln!(text, "scope = 'orders.read orders.write'").unwrap();
        writeln!(text, "danger_allow_http_on_loopback = true").unwrap();
    }
    let path = directory.join("tenants.toml");
    fs::write(&path, text).unwrap();
    path
}

fn load(file: &Path) -> Tenants {
    // A refused token is replaced at once.
    let tenants = Tenants::builder().cache(|_, cache| cache.min_interval(Duration::ZERO));
    tenants.load(Profiles::builder().file(file)).unwrap()
}

fn name(number: usize) -> String {
    format!("tenant-{number}")
}

/// Measures the memory of a tenant without a token: its profile, its settings and its cache.
fn memory(file: &Path) {
    let mut held = None;
    let taken = measure(|| {
        let tenants = load(file);
        for number in 0..TENANTS + MEASURED {
            tenants.source(&name(number)).unwrap();
        }
        held = Some(tenants);
    });
    let bytes = taken.bytes_current as f64 / (TENANTS + MEASURED) as f64;
    rows::report("tenants/memory", bytes, "bytes");
}

/// Measures the first use of one more tenant, beside a thousand in use.
fn build(tenants: &Tenants, runtime: &Runtime) {
    let request = TokenRequest::default();
    let fetch = |source: &dyn TokenSource| {
        let began = Instant::now();
        runtime.block_on(source.token(&request)).unwrap();
        began.elapsed().as_nanos() as f64
    };
    for number in 0..TENANTS {
        fetch(&tenants.source(&name(number)).unwrap());
    }
    let (mut created, mut first, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for number in TENANTS..TENANTS + MEASURED {
        let name = name(number);
        let began = Instant::now();
        let source = tenants.source(&name).unwrap();
        created.push(began.elapsed().as_nanos() as f64);
        first.push(fetch(&source));
        source.invalidate(&source.ready_token(&request).unwrap());
        later.push(fetch(&source));
    }
    let created = rows::median(&mut created);
    rows::report("tenants/source", created, "ns");
    let (first, later) = (rows::median(&mut first), rows::median(&mut later));
    rows::report("tenants/first_token", first, "ns");
    rows::report("tenants/later_token", later, "ns");
    let build = created + (first - later).max(0.0);
    rows::report("tenants/build", build / 1_000.0, "µs");
    let profiles = tenants.profiles().unwrap();
    let settings = profiles.settings(&Selection::new().profile(name(0)));
    let settings = settings.unwrap();
    let mut transports: Vec<f64> = (0..9)
        .map(|_| {
            let began = Instant::now();
            black_box(settings.transport().unwrap());
            began.elapsed().as_nanos() as f64
        })
        .collect();
    rows::report("tenants/transport", rows::median(&mut transports), "ns");
}

/// Measures hits of a tenant's source, of its cache, and with a look-up of the tenant by name; all take turns.
fn hit(tenants: &Tenants) {
    const TURNS: usize = 101;
    const CALLS: u32 = 20_000;
    let source = tenants.source("tenant-7").unwrap();
    let cache: Arc<dyn TokenSource> = source.cache().unwrap();
    let held: Arc<dyn TokenSource> = source;
    let request = TokenRequest::default();
    let time = |call: &dyn Fn()| {
        let began = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        began.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let ready = |source: &dyn TokenSource| {
        black_box(source.ready_token(black_box(&request)).unwrap());
    };
    let calls: [(&str, &dyn Fn()); 3] = [
        ("tenants/hit/cache", &|| ready(&*cache)),
        ("tenants/hit/held", &|| ready(&*held)),
        ("tenants/hit/by_name", &|| {
            ready(&*tenants.source(black_box("tenant-7")).unwrap());
        }),
    ];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        for (times, (_, call)) in times.iter_mut().zip(&calls) {
            times.push(time(call));
        }
    }
    for (times, (row, _)) in times.iter_mut().zip(&calls) {
        rows::report(row, rows::median(times), "ns");
    }
}
