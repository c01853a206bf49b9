use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hallpass_core::{Binding, ErrorKind, SecretSource as _};
use hallpass_endpoint::{AuthenticationContext, ClientAuthentication as _, MutualTls};
use hallpass_testkit::leak::{self, Capture};
use hyper::body::{Body, Bytes, Frame};
use prost::Message as _;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::net::UnixListener;
use tonic::{Code, Streaming, codec::Codec as _};
use tonic_prost::ProstCodec;

use super::{
    ID,
    agent::{Agent, api},
};
use crate::messages::{X509SvidMessage, X509SvidResponse};

/// Returns an SVID with the certificate of the intermediate authority that issued it.
pub(super) fn svid(id: &str) -> X509SvidMessage {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, &issuer).unwrap();
    X509SvidMessage {
        spiffe_id: id.to_owned(),
        x509_svid: [&own.der()[..], issuer.der()].concat(),
        x509_svid_key: key.serialize_der(),
    }
}

pub(super) fn response(svids: impl Into<Vec<X509SvidMessage>>) -> X509SvidResponse {
    X509SvidResponse {
        svids: svids.into(),
    }
}

/// Waits until the agent's new SVID has arrived at this source.
async fn arrived(source: &crate::X509Svid, epoch: u64) {
    while source.epoch() != epoch {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_certificate_is_presented_with_its_spiffe_id() {
    let agent = Agent::start();
    agent.issue_x509(Ok(response([svid(ID)])));
    let authentication = MutualTls::new(agent.api().x509_svid()).spiffe();
    let context = AuthenticationContext::new(ID, "https://login.example/token");
    let credentials = authentication.credentials(&context).await.unwrap();
    let identity = credentials.identity().unwrap();
    assert_eq!(identity.spiffe_id(), Some(ID));
    assert_eq!(
        identity.expose_pem().matches("BEGIN CERTIFICATE").count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_under_load_need_one_stream() {
    let agent = Agent::start();
    agent.issue_x509(Ok(response([svid(ID)])));
    let source = agent.api().x509_svid();
    let tls = Arc::new(MutualTls::new(source.clone()).spiffe());
    let mut before = tls.identity().await.unwrap();
    for round in 1..=5 {
        let epoch = tls.epoch();
        agent.issue_x509(Ok(response([svid(ID)])));
        arrived(&source, round).await;
        // A cached refusal of the old certificate is dropped before the new one is read.
        assert_ne!(tls.epoch(), epoch);
        let call = |tls: Arc<MutualTls>| async move { tls.identity().await.unwrap() };
        let calls: Vec<_> = (0..200).map(|_| tokio::spawn(call(tls.clone()))).collect();
        let mut seen = Vec::new();
        for call in calls {
            seen.push(call.await.unwrap());
        }
        assert!(seen.iter().all(|one| one.is_clone_of(&seen[0])));
        assert!(!seen[0].is_clone_of(&before));
        assert!(Binding::has_ended(before.binding()));
        before = seen.swap_remove(0);
    }
    assert_eq!(agent.stream_count(), 1);
}

#[tokio::test]
async fn an_agent_that_restarts_is_found_again() {
    let mut agent = Agent::start();
    agent.issue_x509(Ok(response([svid(ID)])));
    let source = agent.api().x509_svid();
    let first = source.secret().await.unwrap();
    agent.stop().await;
    // The last one is used while there is no agent, before and after the end of the stream is noticed.
    for _ in 0..100 {
        assert!(source.secret().await.unwrap().matches(&first));
        tokio::task::yield_now().await;
    }
    agent.issue_x509(Ok(response([svid(ID)])));
    agent.run();
    assert!(!source.secret().await.unwrap().matches(&first));
    assert_eq!((agent.stream_count(), source.epoch()), (2, 1));
    // Without one, there is an error.
    agent.stop().await;
    let error = agent.api().x509_svid().secret().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_withdrawn_identity_is_not_used() {
    let mut agent = Agent::start();
    let source = agent.api().x509_svid();
    let tls = MutualTls::new(source.clone());
    let error = tls.identity().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("no identity for this process"),
        "{error}"
    );
    agent.issue_x509(Ok(response([svid(ID)])));
    source.secret().await.unwrap();
    agent.issue_x509(Err(Code::PermissionDenied));
    // The stream ends with the status.
    let streams = agent.stream_count();
    let error = loop {
        match source.secret().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(!error.is_transient(), "{error}");
    assert_eq!(agent.stream_count(), streams + 1);
    // An outage does not bring it back.
    agent.stop().await;
    assert!(source.secret().await.is_err());
}

#[tokio::test]
async fn a_hostile_certificate_is_refused_and_spoils_nothing() {
    let agent = Agent::start();
    let good = svid(ID);
    let with = |change: fn(&mut X509SvidMessage)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let hostile = [
        with(|svid| svid.x509_svid.clear()),
        with(|svid| svid.x509_svid_key.clear()),
        with(|svid| svid.x509_svid.truncate(100)),
        with(|svid| svid.x509_svid = b"CANARY".to_vec()),
        with(|svid| svid.x509_svid = vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        with(|svid| svid.x509_svid = [0x05, 0x00].repeat(17)),
        with(|svid| svid.x509_svid = svid.x509_svid.repeat(9)),
    ];
    for svid in &hostile {
        agent.issue_x509(Ok(response([svid.clone()])));
        let error = agent.api().x509_svid().secret().await.unwrap_err();
        assert!(error.to_string().contains("damaged or missing"), "{error}");
        leak::assert_clean(&error.to_string(), "CANARY");
    }
    // The TLS library checks the rest.
    for svid in [
        with(|svid| svid.x509_svid_key = b"CANARY".to_vec()),
        with(|svid| svid.x509_svid_key = KeyPair::generate().unwrap().serialize_der()),
        with(|svid| svid.x509_svid = [0x05, 0x00].repeat(16)),
    ] {
        agent.issue_x509(Ok(response([svid])));
        let tls = MutualTls::new(agent.api().x509_svid());
        let error = tls.identity().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    // A damaged one leaves the last one in use, and the next good one replaces it.
    agent.issue_x509(Ok(response([good.clone()])));
    let source = agent.api().x509_svid();
    let first = source.secret().await.unwrap();
    for svid in hostile {
        agent.issue_x509(Ok(response([svid])));
        tokio::task::yield_now().await;
        assert!(source.secret().await.unwrap().matches(&first));
    }
    agent.issue_x509(Ok(response([svid(ID)])));
    arrived(&source, 1).await;
    assert!(!source.secret().await.unwrap().matches(&first));
}

#[tokio::test]
async fn one_of_several_certificates_is_selected() {
    const OTHER: &str = "spiffe://acme.example/other";
    let agent = Agent::start();
    agent.issue_x509(Ok(response([svid(ID), svid(OTHER)])));
    let source = agent.api().x509_svid();
    for (source, id) in [
        (source.clone(), ID),
        (source.clone().spiffe_id(OTHER), OTHER),
    ] {
        let identity = MutualTls::new(source).identity().await.unwrap();
        assert_eq!(identity.spiffe_id(), Some(id));
    }
    let missing = source.spiffe_id("spiffe://acme.example/missing");
    assert!(missing.secret().await.is_err());
}

#[tokio::test]
async fn no_output_shows_a_private_key() {
    let capture = Capture::start();
    let agent = Agent::start();
    let message = svid(ID);
    agent.issue_x509(Ok(response([message.clone()])));
    let source = agent.api().x509_svid();
    let secret = source.secret().await.unwrap();
    let line = secret.expose().lines().rev().nth(2).unwrap().to_owned();
    // The positive control: a line of the private key.
    assert!(leak::find(secret.expose(), &line).is_some() && line.len() == 64);
    let shown = format!("{source:?} {secret:?} {message:?}");
    leak::assert_clean(&shown, &line);
    leak::assert_clean(&capture.text(), &line);
}

#[tokio::test]
async fn an_identity_that_a_response_omits_is_not_used() {
    const OTHER: &str = "spiffe://acme.example/other";
    let agent = Agent::start();
    for remaining in [vec![svid(ID)], vec![]] {
        agent.issue_x509(Ok(response([svid(ID), svid(OTHER)])));
        let source = agent.api().x509_svid().spiffe_id(OTHER);
        source.secret().await.unwrap();
        agent.issue_x509(Ok(response(remaining)));
        let mut reads = 0;
        let error = loop {
            match source.secret().await {
                Ok(_) if reads < 10_000 => tokio::task::yield_now().await,
                result => break result.unwrap_err(),
            }
            reads += 1;
        };
        assert!(
            error.to_string().contains("no SVID with this SPIFFE ID"),
            "{error}"
        );
        assert!(!error.is_transient());
        // It is another secret when it comes back.
        agent.issue_x509(Ok(response([svid(OTHER)])));
        source.secret().await.unwrap();
        assert_eq!(source.epoch(), 1);
    }
}

#[tokio::test]
async fn an_agent_that_restarts_with_faults_withdraws_nothing() {
    let mut agent = Agent::start();
    let good = svid(ID);
    let mut damaged = good.clone();
    damaged.x509_svid.truncate(100);
    agent.issue_x509(Ok(response([good])));
    let source = agent.api().x509_svid();
    let first = source.secret().await.unwrap();
    for answer in [
        Ok(response([damaged])),
        Err(Code::Unimplemented),
        Err(Code::ResourceExhausted),
    ] {
        agent.stop().await;
        agent.issue_x509(answer);
        agent.run();
        let streams = agent.stream_count();
        while agent.stream_count() == streams {
            assert!(source.secret().await.unwrap().matches(&first));
        }
    }
    assert_eq!(source.epoch(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_silent_agent_share_one_timeout() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let source = api(&socket).x509_svid();
    let started = tokio::time::Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.secret().await })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(started.elapsed().as_secs(), 5);
    // A later call tries again.
    source.secret().await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 10);
}

/// A body with a response in each frame, and 10,000 of them without a pause.
struct Endless {
    frame: Bytes,
    sent: Arc<AtomicUsize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent.fetch_add(1, Ordering::Relaxed) > 10_000 {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}

#[tokio::test]
async fn a_read_takes_few_responses_from_a_fast_agent() {
    let message = response([svid(ID)]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    let frame = [&[0], &length.to_be_bytes()[..], &message].concat();
    let sent = Arc::new(AtomicUsize::new(0));
    let body = Endless {
        frame: frame.into(),
        sent: sent.clone(),
    };
    let decoder = ProstCodec::<X509SvidResponse, _>::default().decoder();
    let mut stream = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
    let source = api("/agent.sock".as_ref()).x509_svid();
    assert!(source.drain(&mut stream));
    assert_eq!(sent.load(Ordering::Relaxed), 16);
}
