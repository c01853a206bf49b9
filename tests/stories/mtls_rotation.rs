//! A certificate that is replaced while the service calls an API with tokens bound to it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hallpass::{
    AccessToken, Binding, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientIdentity, MutualTls},
    secrets::FileSecret,
};

use crate::mtls_server::{Identity, MtlsServer, Record, ask};

/// A directory as Kubernetes mounts a secret: both files change by one rename of a symbolic link.
struct Volume(PathBuf);

impl Volume {
    fn new(name: &str, identity: &Identity) -> Self {
        let name = format!("hallpass-mtls-{name}-{}", std::process::id());
        let volume = Self(std::env::temp_dir().join(name));
        fs::create_dir(&volume.0).unwrap();
        volume.swap(identity);
        for file in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{file}"), volume.0.join(file)).unwrap();
        }
        volume
    }

    fn swap(&self, identity: &Identity) {
        let version = self.0.join(identity.name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("tls.crt"), &identity.certificate).unwrap();
        fs::write(version.join("tls.key"), &identity.key).unwrap();
        let next = self.0.join("..next");
        symlink(identity.name, &next).unwrap();
        fs::rename(next, self.0.join("..data")).unwrap();
    }

    fn certificate(&self) -> MutualTls {
        let file = |name| FileSecret::new(self.0.join(name));
        MutualTls::from_pair(file("tls.crt"), file("tls.key"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Calls an API with tokens and the certificate that they are bound to, as in docs/mtls.md.
struct Api {
    tokens: CachedTokenSource<ClientCredentials>,
    certificate: MutualTls,
    authority: reqwest::Certificate,
    last: Mutex<Option<(ClientIdentity, reqwest::Client)>>,
    clients: AtomicUsize,
}

impl Api {
    /// Returns the client that presents the certificate to which this token is bound.
    async fn client(&self, token: &AccessToken) -> reqwest::Client {
        if let Some((identity, client)) = &*self.last.lock().unwrap()
            && token
                .binding()
                .is_some_and(|binding| binding.is_same(identity.binding()))
        {
            return client.clone();
        }
        let identity = self.certificate.identity().await.unwrap();
        let mut last = self.last.lock().unwrap();
        if let Some((known, client)) = &*last
            && known.is_clone_of(&identity)
        {
            return client.clone();
        }
        self.clients.fetch_add(1, Ordering::SeqCst);
        let pem = reqwest::Identity::from_pem(identity.expose_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .identity(pem)
            .tls_certs_only([self.authority.clone()])
            .build()
            .unwrap();
        *last = Some((identity, client.clone()));
        client
    }

    async fn call(&self, url: &str) -> u16 {
        loop {
            let token = self.tokens.token(&TokenRequest::default()).await.unwrap();
            let client = self.client(&token).await;
            // The certificate was replaced in between: the next token is bound to the new one.
            if token.binding().is_some_and(Binding::has_ended) {
                continue;
            }
            let call = client.get(url);
            let call = call.header("authorization", token.header_value().clone());
            return call.send().await.unwrap().status().as_u16();
        }
    }
}

/// Ten rotations under continuous calls; the server accepts the old certificate until no task uses it.
// covers: C-65, F-110, F-111
#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_and_each_rotation_costs_one_token() {
    const TASKS: usize = 8;
    const NAMES: [&str; 11] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let server = MtlsServer::start().await;
    let mut old = server.identity(NAMES[0]);
    server.register(&old);
    let volume = Volume::new("load", &old);
    let certificate = volume.certificate();
    let tokens = server.source(certificate.clone()).build().unwrap();
    let authority = server.authority.certificate().pem();
    let api = Arc::new(Api {
        tokens: CachedTokenSource::new(tokens),
        certificate: certificate.clone(),
        authority: reqwest::Certificate::from_pem(authority.as_bytes()).unwrap(),
        last: Mutex::default(),
        clients: AtomicUsize::new(0),
    });
    let over = Arc::new(AtomicBool::new(false));
    let done: Arc<Vec<AtomicUsize>> = Arc::new((0..TASKS).map(|_| AtomicUsize::new(0)).collect());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (api, over, done) = (api.clone(), over.clone(), done.clone());
            let url = server.url("/orders");
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(api.call(&url).await, 200);
                    done[task].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let count = || -> Vec<usize> {
        let counts = done.iter().map(|done| done.load(Ordering::SeqCst));
        counts.collect()
    };
    // Until each task has finished its current call and one that started later.
    let pass = async || {
        let before = count();
        let late = |(now, before): (&usize, &usize)| *now < before + 2;
        while count().iter().zip(&before).any(late) {
            let failed = tasks.iter().any(tokio::task::JoinHandle::is_finished);
            assert!(!failed, "a call failed");
            tokio::task::yield_now().await;
        }
    };
    pass().await;
    for name in &NAMES[1..] {
        let new = server.identity(name);
        server.register(&new);
        volume.swap(&new);
        // The next lookup, by a token request or here, drops the tokens of the old certificate.
        certificate.identity().await.unwrap();
        pass().await;
        server.forget(&old);
        let from = server.records().len();
        pass().await;
        let fresh = |record: &Record| record.client == *name;
        assert!(server.records()[from..].iter().all(fresh));
        old = new;
    }
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let records = server.records();
    assert!(records.iter().all(|record| record.status == 200));
    let requests = server.token_requests();
    let bound: Vec<_> = requests.iter().map(|request| &*request.client).collect();
    assert_eq!(bound, NAMES, "one token a certificate");
    assert_eq!(api.clients.load(Ordering::SeqCst), NAMES.len());
    let calls: usize = count().iter().sum();
    assert_eq!(records.len(), calls + NAMES.len());
}

/// Without a cache each call reads both files, and the pair changes during all of them.
// covers: F-110, F-111
#[tokio::test(flavor = "multi_thread")]
async fn no_request_has_one_half_of_each_pair() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let server = MtlsServer::start().await;
    let identities = NAMES.map(|name| server.identity(name));
    for identity in &identities {
        server.register(identity);
    }
    let volume = Volume::new("pairs", &identities[0]);
    let certificate = volume.certificate();
    let source = Arc::new(server.source(certificate.clone()).build().unwrap());
    for identity in &identities[1..] {
        let calls = (0..20).map(|_| {
            let source = source.clone();
            tokio::spawn(async move { ask(&*source).await.map(|_| ()) })
        });
        let calls: Vec<_> = calls.collect();
        volume.swap(identity);
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    let requests = server.token_requests();
    assert_eq!(requests.len(), 20 * (NAMES.len() - 1));
    ask(&*source).await.unwrap();
    assert_eq!(server.token_requests().pop().unwrap().client, "f");
}
