//! Tokens that are bound to a key (DPoP, RFC 9449).

use std::fs;

use hallpass_testkit::leak;
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::{
    peer::OidcProvider,
    proofs::{Prudent, VerifiedProof},
    support::{ID, User, profile, shown, stderr, stdout},
};

/// Generates a key in this file, and returns its thumbprint.
fn keygen(user: &User, name: &str) -> String {
    let printed = user.prints(&format!("keygen --out {name}"));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    printed["keys"][0]["kid"].as_str().unwrap().to_owned()
}

fn dpop(user: &User, name: &str) -> String {
    format!("dpop = 'file:{}'\n", user.path(name).display())
}

/// Starts a token endpoint whose n-th token is `t-N`, bound to the key of the proof.
async fn token_endpoint() -> (MockServer, Prudent) {
    Prudent::start("/token", |_, before| {
        ResponseTemplate::new(200).set_body_json(json!({
            "access_token": format!("t-{before}"), "token_type": "DPoP", "expires_in": 3600,
        }))
    })
    .await
}

/// Starts an API that demands a nonce.
async fn api() -> (MockServer, Prudent) {
    Prudent::start("/orders", |proof, _| match proof.nonce() {
        Some("n-1") => ResponseTemplate::new(200).set_body_string("done"),
        _ => ResponseTemplate::new(401)
            .insert_header("www-authenticate", r#"DPoP error="use_dpop_nonce""#)
            .insert_header("dpop-nonce", "n-1"),
    })
    .await
}

/// Returns the server's description of a token: the type, and the thumbprint of its key.
async fn introspect(peer: &OidcProvider, token: &str) -> (String, String) {
    let answer = reqwest::Client::new()
        .post(format!("{}/token/introspection", peer.received("issuer")))
        .basic_auth("dpop", Some(peer.client_secret("dpop")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"))
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&answer["token_type"]), text(&answer["cnf"]["jkt"]))
}

// covers: C-40
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_bound_token_is_used_with_its_key_only() {
    let Some(mut peer) = OidcProvider::start(&["--dpop-nonce"]).await else {
        return;
    };
    let user = User::new();
    let thumbprints = [keygen(&user, "one.pem"), keygen(&user, "two.pem")];
    let endpoint = peer.received("token_endpoint").to_owned();
    let settings = |more: &str| {
        format!(
            "[profile.default]\ntoken_endpoint = '{endpoint}'\nclient_id = 'dpop'\nclient_secret = 'env:PEER_SECRET'\n\
             scope = 'api:read'\ndanger_allow_http_on_loopback = true\n{more}"
        )
    };
    let secret = peer.client_secret("dpop").to_owned();
    let run = |words: &str| user.hallpass(words).env("PEER_SECRET", &secret).assert();
    let mut tokens = Vec::new();
    for name in ["one.pem", "two.pem"] {
        user.profile(&settings(&dpop(&user, name)));
        let printed = stdout(&run("token --format json").success());
        let message: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(message["token_type"], "DPoP");
        // The demand of a nonce, and its answer.
        assert_eq!((peer.served().await, peer.served().await), (400, 200));
        let token = message["access_token"].as_str().unwrap().to_owned();
        tokens.push(token);
    }
    for (token, thumbprint) in tokens.iter().zip(&thumbprints) {
        let bound = ("DPoP".to_owned(), thumbprint.clone());
        assert_eq!(introspect(&peer, token).await, bound);
    }
    // Each key finds its own token, without a request.
    for (name, token) in ["two.pem", "one.pem"].iter().zip(tokens.iter().rev()) {
        user.profile(&settings(&dpop(&user, name)));
        assert_eq!(stdout(&run("token").success()).trim_end(), token);
    }
    // A rotated key in the same file has no token yet.
    fs::rename(user.path("two.pem"), user.path("one.pem")).unwrap();
    assert_eq!(stdout(&run("token").success()).trim_end(), tokens[1]);
    // Without the setting, none of them is printed.
    user.profile(&settings(""));
    let refused = run("token").failure();
    assert_eq!(stdout(&refused), "");
}

// covers: C-40
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_compares_the_token_with_the_key() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let user = User::new();
    let thumbprint = keygen(&user, "dpop.pem");
    let secret = peer.client_secret("dpop").to_owned();
    for (resource, says) in [
        ("", "type DPoP; the token is opaque".to_owned()),
        (
            "resource = 'https://orders.example/api'\n",
            format!("bound to the key of `dpop`, `{thumbprint}`"),
        ),
    ] {
        user.profile(&format!(
            "[profile.default]\ntoken_endpoint = '{}'\nclient_id = 'dpop'\nclient_secret = 'env:PEER_SECRET'\n\
             scope = 'api:read'\ndanger_allow_http_on_loopback = true\n{resource}{}",
            peer.received("token_endpoint"),
            dpop(&user, "dpop.pem")
        ));
        let mut doctor = user.hallpass("doctor");
        let report = stdout(&doctor.env("PEER_SECRET", &secret).assert().success());
        let line = report.lines().find(|line| line.contains(" binding "));
        let line = line.unwrap();
        assert!(line.starts_with("ok") && line.contains(&says), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_sends_the_nonce_that_the_server_demands() {
    let (_login, login) = Prudent::start("/token", |proof, _| match proof.nonce() {
        Some("n-1") => ResponseTemplate::new(200).set_body_json(json!({
            "access_token": "opaque", "token_type": "DPoP", "expires_in": 3600,
        })),
        _ => ResponseTemplate::new(400)
            .insert_header("dpop-nonce", "n-1")
            .set_body_json(json!({ "error": "use_dpop_nonce" })),
    })
    .await;
    let user = User::new();
    keygen(&user, "dpop.pem");
    user.profile(&(profile("default", &login.url()) + &dpop(&user, "dpop.pem")));
    let report = user.prints("doctor");
    assert!(report.contains("ok   token "), "{report}");
    let seen = login.seen();
    let nonces: Vec<_> = seen.iter().map(VerifiedProof::nonce).collect();
    assert_eq!(nonces, [None, Some("n-1")]);
}

// covers: C-66, C-67, C-70
#[tokio::test(flavor = "multi_thread")]
async fn each_request_to_an_api_has_a_proof_and_its_nonce() {
    let (_login, login) = token_endpoint().await;
    let (_api, api) = api().await;
    let user = User::new();
    let thumbprint = keygen(&user, "dpop.pem");
    user.profile(&(profile("default", &login.url()) + &dpop(&user, "dpop.pem")));
    fs::write(user.path("order.json"), "{}").unwrap();
    let words = format!("request POST {}?id=7 --body order.json", api.url());
    for _ in 0..2 {
        assert_eq!(user.prints(&words), "done");
    }
    // A server with another library has verified each of them: method, URL, token and signature.
    let seen = api.seen();
    let nonces: Vec<_> = seen.iter().map(VerifiedProof::nonce).collect();
    assert_eq!(nonces, [None, Some("n-1"), None, Some("n-1")]);
    for proof in &seen {
        assert_eq!(proof.authorization.as_deref(), Some("DPoP t-0"));
        assert_eq!(proof.body, b"{}");
    }
    let logins = login.seen();
    assert_eq!(logins.len(), 1, "the second run uses the cached token");
    assert_eq!(seen[0].jwk, logins[0].jwk);
    let public = user.prints("keygen --from dpop.pem");
    assert!(public.contains(&thumbprint) && public.contains(seen[0].jwk["x"].as_str().unwrap()));
}

// covers: C-66, C-67
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_headers_are_those_of_one_request() {
    let (_login, login) = token_endpoint().await;
    let (_api, api) = api().await;
    let user = User::new();
    keygen(&user, "dpop.pem");
    user.profile(&profile("default", &login.url()));
    let reference = format!("file:{}", user.path("dpop.pem").display());
    for (nonce, status) in [("", 401), ("--nonce n-1", 200)] {
        let words = "token --format dpop --method put --danger-allow-http-on-loopback";
        let mut command = user.hallpass(&format!("{words} {nonce} --url {}?a=b", api.url()));
        let printed = stdout(&command.args(["--dpop", &reference]).assert().success());
        let mut request = reqwest::Client::new().put(format!("{}?a=b", api.url()));
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), 2, "{printed}");
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert_eq!((api.seen().len(), login.seen().len()), (2, 1));
}

// covers: I-14
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_bind_tokens_is_an_error() {
    let (_login, login) = token_endpoint().await;
    let user = User::new();
    keygen(&user, "dpop.pem");
    user.prints("keygen --out rsa.pem --algorithm rs256 --bits 2048");
    let good = profile("default", &login.url());
    let key = fs::read_to_string(user.path("rsa.pem")).unwrap();
    let canary = key.lines().nth(3).unwrap();
    fs::write(user.path("damaged.pem"), key.replace("-----END", "--END")).unwrap();
    let with = |name: &str| good.clone() + &dpop(&user, name);
    let signing = |name: &str| {
        good.replace(
            "client_secret = \"env:CLIENT_SECRET\"",
            &format!(
                "issuer = 'https://login.example'\nprivate_key = 'file:{}'",
                user.path(name).display()
            ),
        )
    };
    let bearer = "https://api.example/orders";
    for (profile, words, code, says) in [
        (with("rsa.pem"), "token", 3, "dpop: `file:"),
        (with("rsa.pem"), "doctor", 3, "hallpass keygen"),
        (with("damaged.pem"), "token", 3, "dpop: `file:"),
        (
            with("missing.pem"),
            "request GET https://api.example/",
            3,
            "missing.pem",
        ),
        (
            signing("dpop.pem") + &dpop(&user, "dpop.pem"),
            "token",
            3,
            "`dpop` and `private_key` refer to the same secret",
        ),
        (
            with("dpop.pem"),
            "token --format header",
            3,
            "--format dpop --url",
        ),
        (
            with("dpop.pem"),
            "token --format exec-credential",
            3,
            "kubectl sends bearer tokens",
        ),
        (with("dpop.pem"), "token --format dpop", 2, "--url"),
        (
            with("dpop.pem"),
            "token --format dpop --url http://api.example/orders",
            2,
            "https://",
        ),
        (
            with("dpop.pem"),
            "token --format dpop --url https://api.example/ --nonce a\"b",
            2,
            "`--nonce`",
        ),
        (
            with("dpop.pem"),
            "token --url https://api.example/",
            2,
            "--format dpop",
        ),
        (good.clone(), "token --dpop CANARY", 2, "`--dpop`"),
    ] {
        user.profile(&profile);
        let run = user.run(words).code(code);
        let text = shown(&run);
        assert!(text.contains(says), "{words}: {text}");
        leak::assert_clean(&text, canary);
        leak::assert_clean(&text, "CANARY");
    }
    user.profile(&good);
    let run = user
        .run(&format!("token --format dpop --url {bearer}"))
        .code(3);
    assert!(stderr(&run).contains("set `dpop`"), "{}", stderr(&run));
    assert_eq!(login.seen().len(), 0, "nothing was sent for {ID}");
}
