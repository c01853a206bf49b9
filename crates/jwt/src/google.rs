use hallpass_endpoint::{Anonymous, BuildError, JwtBearer, SourceBuilder};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{AssertionSettings, SignedAssertion, SigningKey};

/// The members of a key file that are used; the rest is informational.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

/// Creates a source of tokens for a Google service account, from the JSON text of its key file: a [`JwtBearer`] source
/// whose assertion names the account and the requested scopes. Each request needs scopes, so set some on the builder.
///
/// Token requests go to the file's `token_uri`: trust the file as much as its key. On a platform that runs at Google,
/// or that Google trusts, use the platform's own identity, which needs no key that can be stolen.
///
/// ```no_run
/// use hallpass_jwt::google_service_account;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = std::fs::read_to_string("/run/secrets/service-account.json")?;
/// let source = google_service_account(&file)?
///     .scope("https://www.googleapis.com/auth/devstorage.read_only")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// A [`BuildError`] if the text is no key file of a service account, or its key cannot be read.
pub fn google_service_account(file: &str) -> Result<SourceBuilder<JwtBearer>, BuildError> {
    let wrong = || {
        BuildError::new(
            "key",
            "it is not a key file of a service account; use the JSON file from Google, with `type`, `client_email`, `private_key`, `private_key_id` and `token_uri`",
        )
    };
    // The JSON library's error may quote the file.
    let file: KeyFile = serde_json::from_str(file).map_err(|_| wrong())?;
    let pem = Zeroizing::new(file.private_key);
    if file.kind != "service_account" {
        return Err(wrong());
    }
    let key = SigningKey::from_pem(&pem)?.with_key_id(file.private_key_id);
    let settings = AssertionSettings::new(&file.token_uri)?;
    let assertion = SignedAssertion::new(settings, key)
        .without_subject()
        .with_scope_claim();
    Ok(JwtBearer::builder(
        file.token_uri,
        file.client_email,
        Anonymous::new(),
        assertion,
    ))
}

#[cfg(test)]
mod tests {
    use hallpass_core::{ScopeSet, TokenRequest, TokenSource as _};
    use hallpass_testkit::{AuthorizationServer, leak};
    use serde_json::{Value, json};

    use super::*;
    use crate::verify;

    const PEM: &str = include_str!("key/samples/rsa.pem");
    const EMAIL: &str = "orders@project.iam.gserviceaccount.example";

    fn file(token_uri: &str) -> Value {
        json!({
            "type": "service_account", "project_id": "project", "private_key_id": "k1",
            "private_key": PEM, "client_email": EMAIL, "token_uri": token_uri,
        })
    }

    // covers: C-50
    #[tokio::test]
    async fn the_assertion_is_as_google_documents_it() {
        let server = AuthorizationServer::builder().start().await;
        let url = server.token_endpoint();
        let source = google_service_account(&file(&url).to_string()).unwrap();
        let source = source.danger_allow_http_on_loopback().build().unwrap();
        let scopes: ScopeSet = "b a".parse().unwrap();
        let request = TokenRequest::new().with_scopes(scopes);
        // The server does not know the issuer; only the request that it got counts.
        assert!(source.token(&request).await.is_err());
        let request = server.token_requests().remove(0);
        assert_eq!(request.parameter("client_id"), None);
        let assertion = verify::Assertion::parse(request.parameter("assertion").unwrap());
        assert!(assertion.is_signed_by(&SigningKey::from_pem(PEM).unwrap().public_jwk()));
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" });
        assert_eq!(assertion.header, header);
        let Value::Object(mut claims) = assertion.claims else {
            panic!("no claims");
        };
        assert!(claims.remove("iat").is_some_and(|iat| iat.is_u64()));
        assert!(claims.remove("exp").is_some_and(|exp| exp.is_u64()));
        assert!(claims.remove("jti").is_some());
        let rest = json!({ "iss": EMAIL, "aud": url, "scope": "a b" });
        assert_eq!(Value::Object(claims), rest);
    }

    // covers: F-99
    #[test]
    fn an_invalid_key_file_is_refused_and_not_shown() {
        let without = |name: &str| {
            let mut file = file("https://login.example/token");
            file.as_object_mut().unwrap().remove(name);
            file.to_string()
        };
        let mut texts = vec![
            "CANARY".to_owned(),
            r#"{"private_key":"CANARY"}"#.to_owned(),
        ];
        texts.extend(
            [
                "type",
                "client_email",
                "private_key",
                "private_key_id",
                "token_uri",
            ]
            .map(without),
        );
        texts.push(
            file("https://x/t")
                .to_string()
                .replace("service_account", "authorized_user"),
        );
        let line = PEM.lines().nth(1).unwrap();
        for text in texts {
            let error = google_service_account(&text).unwrap_err();
            assert_eq!(error.setting(), "key");
            let shown = format!("{error} {error:?}");
            leak::assert_clean(&shown, "CANARY");
            leak::assert_clean(&shown, line);
        }
        let good = google_service_account(&file("https://x.example/t").to_string()).unwrap();
        let shown = format!("{good:?}");
        assert!(leak::find(PEM, line).is_some());
        leak::assert_clean(&shown, line);
    }
}
