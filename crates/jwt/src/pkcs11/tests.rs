//! Tests with SoftHSM. Each runs in a process of its own, since a module is loaded once per process.

use std::{
    fmt, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, ObjectClass},
    session::UserType,
};
use hallpass_core::{ErrorKind, Secret, SecretError, SecretSource, TokenError};
use hallpass_testkit::{RotatingSecret, leak};

use super::*;
use crate::{Algorithm, Signer as _, SigningKey, verify::verify};

#[path = "../../../../tests/shared/child.rs"]
mod child;
#[path = "../../../../tests/shared/softhsm.rs"]
mod softhsm;

use softhsm::{LABEL, PIN, SoftHsm};

const MESSAGE: &[u8] = b"header.claims";

/// A PIN that can change, and that counts its reads.
#[derive(Clone)]
struct Pin(Arc<(std::sync::Mutex<&'static str>, AtomicUsize, AtomicUsize)>);

impl Pin {
    fn new(pin: &'static str) -> Self {
        Self(Arc::new((pin.into(), 0.into(), 0.into())))
    }

    fn set(&self, pin: &'static str) {
        *self.0.0.lock().unwrap() = pin;
    }

    fn reads(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn refusals(&self) -> usize {
        self.0.2.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

#[async_trait]
impl SecretSource for Pin {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        Secret::new(*self.0.0.lock().unwrap())
    }

    fn refused(&self, _: &Secret) {
        self.0.2.fetch_add(1, Ordering::SeqCst);
    }
}

fn sample(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/key/samples");
    folder.join(format!("{name}.pem"))
}

/// Returns the public half of a sample, outside of the token.
fn public(name: &str) -> String {
    let pem = fs::read_to_string(sample(name)).unwrap();
    SigningKey::from_pem(&pem).unwrap().public_jwk()
}

fn builder(hsm: &SoftHsm, algorithm: Algorithm, pin: &Pin) -> Pkcs11SignerBuilder {
    Pkcs11Signer::builder(hsm.module(), algorithm, pin.clone()).token_label(LABEL)
}

/// Returns an ES256 signer for the sample `ec-256`, which is imported into the token.
fn es256(hsm: &SoftHsm, pin: &Pin) -> Pkcs11Signer {
    hsm.import(&sample("ec-256"), "orders", "01");
    let builder = builder(hsm, Algorithm::Es256, pin).object_label("orders");
    builder.build().unwrap()
}

async fn signs(signer: &Pkcs11Signer) {
    let signature = signer.sign(MESSAGE).await.unwrap();
    assert!(verify("ES256", &public("ec-256"), MESSAGE, &signature));
}

async fn fails(signer: &Pkcs11Signer, kind: ErrorKind, expected: &str) -> TokenError {
    let error = signer.sign(MESSAGE).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    leak::assert_clean(&leak::error_chain(&error), "CANARY");
    error
}

/// Returns the module as other code of this process would use it.
fn elsewhere(hsm: &SoftHsm) -> Pkcs11 {
    Pkcs11::new(hsm.module()).unwrap()
}

// covers: C-45
#[tokio::test]
async fn it_signs_by_each_algorithm_with_a_key_of_the_module() {
    let test = "pkcs11::tests::it_signs_by_each_algorithm_with_a_key_of_the_module";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    for (number, name, algorithms) in [
        ("01", "ec-256", &[Algorithm::Es256][..]),
        ("02", "ec-384", &[Algorithm::Es384]),
        ("03", "rsa", &[Algorithm::Rs256, Algorithm::Ps256]),
        ("04", "ed25519", &[Algorithm::EdDsa]),
    ] {
        hsm.import(&sample(name), name, number);
        for &algorithm in algorithms {
            let builder = builder(&hsm, algorithm, &pin).object_label(name);
            let signer = builder.key_id("2026").build().unwrap();
            assert_eq!(
                (signer.algorithm(), signer.key_id()),
                (algorithm, Some("2026"))
            );
            signer.check().await.unwrap();
            let signature = signer.sign(MESSAGE).await.unwrap();
            algorithm.check(&signature).unwrap();
            let public = public(name);
            assert!(verify(algorithm.name(), &public, MESSAGE, &signature));
            assert!(!verify(algorithm.name(), &public, b"another", &signature));
        }
    }
}

#[tokio::test]
async fn the_key_is_found_by_label_id_or_both() {
    let test = "pkcs11::tests::the_key_is_found_by_label_id_or_both";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    hsm.import(&sample("ec-384"), "orders", "02");
    hsm.import(&sample("ec-256"), "orders", "01");
    let es256 = || builder(&hsm, Algorithm::Es256, &pin);
    signs(&es256().object_id([1]).build().unwrap()).await;
    signs(
        &es256()
            .object_id([1])
            .object_label("orders")
            .build()
            .unwrap(),
    )
    .await;
    let both = es256().object_label("orders").build().unwrap();
    fails(&both, ErrorKind::Configuration, "more than one private key").await;
    for (nothing, named) in [
        (es256().object_id([3]), "with the id 03"),
        (
            es256().object_label("x").object_id([1]),
            "with the label `x` and the id 01",
        ),
    ] {
        let nothing = nothing.build().unwrap();
        let named = format!("the token with the label `{LABEL}` has no private key {named}");
        fails(&nothing, ErrorKind::Configuration, &named).await;
    }
    let other = es256().object_id([2]).build().unwrap();
    fails(&other, ErrorKind::Configuration, "cannot sign with ES256").await;
    let other = builder(&hsm, Algorithm::Rs256, &pin).object_id([1]).build();
    let other = other.unwrap();
    assert!(other.check().await.is_err());
    fails(&other, ErrorKind::Configuration, "cannot sign with RS256").await;
}

#[tokio::test]
async fn the_token_is_found_by_label_slot_or_if_it_is_the_only_one() {
    let test = "pkcs11::tests::the_token_is_found_by_label_slot_or_if_it_is_the_only_one";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    signs(&es256(&hsm, &pin)).await;
    let unnamed = || {
        Pkcs11Signer::builder(hsm.module(), Algorithm::Es256, pin.clone()).object_label("orders")
    };
    signs(&unnamed().build().unwrap()).await;
    let slot = elsewhere(&hsm).get_slots_with_initialized_token().unwrap()[0].id();
    signs(&unnamed().slot(slot).build().unwrap()).await;
    for wrong in [unnamed().slot(slot ^ 1), unnamed().token_label("another")] {
        let wrong = wrong.build().unwrap();
        fails(&wrong, ErrorKind::Configuration, "has no token").await;
    }
    // A module that is loaded does not stand in for another one.
    let absent = Pkcs11Signer::builder("/nowhere/x.so", Algorithm::Es256, pin.clone());
    let absent = absent.object_label("orders").build().unwrap();
    fails(&absent, ErrorKind::Configuration, "could not be loaded").await;
    hsm.add_token("second");
    elsewhere(&hsm).finalize().unwrap();
    let any = unnamed().build().unwrap();
    fails(&any, ErrorKind::Configuration, "has 2 matching tokens").await;
}

// covers: F-99, F-100
#[tokio::test]
async fn a_wrong_pin_is_tried_once() {
    let test = "pkcs11::tests::a_wrong_pin_is_tried_once";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new("CANARY-wrong");
    let signer = es256(&hsm, &pin);
    // The token flags a wrong PIN until a correct login.
    let flagged = || {
        let module = elsewhere(&hsm);
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        module.get_token_info(slot).unwrap().user_pin_count_low()
    };
    fails(&signer, ErrorKind::Configuration, "refused the PIN").await;
    assert!(flagged());
    assert_eq!((pin.reads(), pin.refusals()), (1, 1));

    // The same wrong PIN is not sent again: after a correct login elsewhere the token has nothing to flag.
    let module = elsewhere(&hsm);
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_ro_session(slot).unwrap();
    session
        .login(UserType::User, Some(&PIN.to_owned().into()))
        .unwrap();
    session.logout().unwrap();
    assert!(!flagged());
    let error = fails(&signer, ErrorKind::Configuration, "refused the PIN").await;
    assert!(!error.is_transient() && !flagged());
    assert_eq!((pin.reads(), pin.refusals()), (2, 1));

    pin.set(PIN);
    signs(&signer).await;
    signs(&signer).await;
    assert_eq!((pin.reads(), pin.refusals()), (3, 1));
    leak::assert_clean(&format!("{signer:?}"), "CANARY");
    // Positive control: the PIN was sent to the token.
    assert!(leak::find(PIN, "CANARY").is_some());
}

#[tokio::test]
async fn a_closed_session_is_reopened_once() {
    let test = "pkcs11::tests::a_closed_session_is_reopened_once";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    let signer = es256(&hsm, &pin);
    signs(&signer).await;
    assert_eq!(pin.reads(), 1);

    // Other code in this process logged out.
    let module = elsewhere(&hsm);
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    module.open_ro_session(slot).unwrap().logout().unwrap();
    signs(&signer).await;
    assert_eq!(pin.reads(), 2);

    // Finalized: no handle is valid any more.
    elsewhere(&hsm).finalize().unwrap();
    signs(&signer).await;
    assert_eq!(pin.reads(), 3);

    // And initialized again by other code.
    elsewhere(&hsm).finalize().unwrap();
    let flags = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    elsewhere(&hsm).initialize(flags).unwrap();
    signs(&signer).await;
    assert_eq!(pin.reads(), 4);
    signs(&signer).await;
    assert_eq!(pin.reads(), 4);

    // Removed after it was present: a transient error.
    hsm.tool(&["--delete-token", "--token", LABEL]);
    elsewhere(&hsm).finalize().unwrap();
    let error = fails(&signer, ErrorKind::Unavailable, "was removed").await;
    assert!(error.is_transient() && error.is_local());
    assert_eq!(pin.reads(), 5);
}

#[tokio::test]
async fn a_key_that_may_not_sign_opens_no_other_session() {
    let test = "pkcs11::tests::a_key_that_may_not_sign_opens_no_other_session";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    let signer = es256(&hsm, &pin);
    signs(&signer).await;
    let module = elsewhere(&hsm);
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let key = session.find_objects(&private).unwrap()[0];
    let change = session.update_attributes(key, &[Attribute::Sign(false)]);
    change.unwrap();
    fails(&signer, ErrorKind::Configuration, "cannot sign with ES256").await;
    assert_eq!(pin.reads(), 1);
}

/// The error is local, so that a token request is not retried.
#[tokio::test]
async fn a_missing_module_is_a_local_error() {
    let pin = Pin::new(PIN);
    let signer = Pkcs11Signer::builder("/no/such/module.so", Algorithm::Es256, pin)
        .token_label(LABEL)
        .object_label("orders")
        .build()
        .unwrap();
    let error = signer.sign(MESSAGE).await.unwrap_err();
    assert!(error.to_string().contains("could not be loaded"), "{error}");
    assert!(error.is_local());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_one_session() {
    let test = "pkcs11::tests::many_calls_share_one_session";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    let signer = Arc::new(es256(&hsm, &pin));
    let calls = (0_u8..64).map(|number| {
        let signer = signer.clone();
        tokio::spawn(async move { (number, signer.sign(&[number]).await.unwrap()) })
    });
    let public = public("ec-256");
    for call in calls.collect::<Vec<_>>() {
        let (number, signature) = call.await.unwrap();
        assert!(verify("ES256", &public, &[number], &signature), "{number}");
    }
    assert_eq!(pin.reads(), 1);
}

#[test]
fn a_cancelled_call_does_not_affect_the_next() {
    let test = "pkcs11::tests::a_cancelled_call_does_not_affect_the_next";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let pin = Pin::new(PIN);
    let signer = es256(&hsm, &pin);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        signer.check().await.unwrap();
        // The only blocking thread is taken, so that the call is queued and goes no further.
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || gate.recv().is_err());
        let mut call = signer.sign(MESSAGE);
        let pending = std::future::poll_fn(|context| {
            std::task::Poll::Ready(call.as_mut().poll(context).is_pending())
        });
        assert!(pending.await);
        drop(call);
        drop(open);
        assert!(taken.await.unwrap());
        signs(&signer).await;
    });
    assert_eq!(pin.reads(), 1);
}

#[tokio::test]
async fn a_file_that_is_not_a_module_is_an_error() {
    let pin = Pin::new(PIN);
    for path in ["/nowhere/x.so", env!("CARGO_MANIFEST_DIR")] {
        let builder = Pkcs11Signer::builder(path, Algorithm::Es256, pin.clone());
        let signer = builder.object_label("orders").build().unwrap();
        let error = signer.sign(MESSAGE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("could not be loaded"), "{error}");
    }
}

#[test]
fn an_invalid_setting_is_an_error_before_any_call() {
    let builder = |path| Pkcs11Signer::builder(path, Algorithm::Es256, Pin::new(PIN));
    for (builder, setting) in [
        (builder("libsofthsm2.so").object_label("x"), "module"),
        (builder("/x.so"), "object_label"),
        (
            builder("/x.so").object_id([1]).token_label("x".repeat(33)),
            "token_label",
        ),
    ] {
        leak::assert_clean(&format!("{builder:?}"), "CANARY");
        assert_eq!(builder.build().unwrap_err().setting(), setting);
    }
    let longest = builder("/x.so").object_id([1]).token_label("x".repeat(32));
    longest.build().unwrap();
}

#[test]
fn another_pin_changes_the_epoch() {
    let pin = RotatingSecret::new(PIN);
    let signer = Pkcs11Signer::builder("/x.so", Algorithm::Es256, pin.clone());
    let signer = signer.object_label("x").build().unwrap();
    assert_eq!(signer.epoch(), 0);
    pin.rotate("another");
    assert_eq!(signer.epoch(), 1);
}
