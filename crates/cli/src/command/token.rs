//! `hallpass token`.

use std::time::SystemTime;

use hallpass::AccessToken;
use serde_json::{Value, json};

use super::{credential, proof::ProofTarget, time::rfc3339};
use crate::{
    args::{Common, DEFAULT_VARIABLE, Format, Token},
    config::{self, Settings},
    failure::Failure,
    out,
    tokens::{self, Tokens},
};

pub(crate) fn run(common: &Common, args: &Token) -> Result<(), Failure> {
    let name = args.name.as_deref().unwrap_or(DEFAULT_VARIABLE);
    check_name(name)?;
    let version = match args.format {
        Format::ExecCredential => Some(credential::api_version()?),
        _ => None,
    };
    let (settings, cache) = config::read(common, &args.client)?;
    check_format(args.format, &settings)?;
    let target = ProofTarget::parse(args, &settings)?;
    let tokens = Tokens::new((settings, cache))?;
    let (token, proof) = tokens::block_on(async {
        let token = if args.refresh {
            tokens.fresh_token().await?
        } else {
            tokens.token().await?
        };
        let proof = match &target {
            Some(target) => Some(target.prove(&token, &tokens.settings).await?),
            None => None,
        };
        Ok((token, proof))
    })?;
    if let Some(proof) = proof {
        return out::text(&format!("{}DPoP: {proof}\n", authorization(&token)));
    }
    match (args.format, version) {
        (Format::ExecCredential, Some(version)) => {
            out::json(&credential::exec_credential(&token, version))
        }
        (Format::Json, _) => out::json(&token_json(&token)),
        (Format::Header, _) => out::text(&authorization(&token)),
        (Format::Env, _) => out::text(&variable_lines(name, &token)),
        _ => out::text(&format!("{}\n", token.expose())),
    }
}

fn authorization(token: &AccessToken) -> String {
    format!("Authorization: {} {}\n", token.token_type(), token.expose())
}

/// Refuses a format whose reader has no proof for a token that is bound to a key.
fn check_format(format: Format, settings: &Settings) -> Result<(), Failure> {
    let unfit = match format {
        Format::Header => "a header with the token alone is refused by an API",
        Format::ExecCredential => "kubectl sends bearer tokens only",
        _ => return Ok(()),
    };
    if settings.dpop.is_none() {
        return Ok(());
    }
    Err(
        Failure::configuration(format!("tokens are bound to a key (`dpop`), and {unfit}"))
            .with_remedy(
                "print both headers of a request with `--format dpop --url URL`, or remove `dpop`",
            ),
    )
}

fn token_json(token: &AccessToken) -> Value {
    let left = token
        .expires_at()
        .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
    json!({
        "access_token": token.expose(),
        "token_type": token.token_type().as_str(),
        "expires_in": left.map(|left| left.as_secs()),
        "expires_at": token.expires_at().and_then(rfc3339),
        "scope": token.scopes().as_str(),
    })
}

/// Formats lines that shells, systemd and container tools read alike.
fn variable_lines(name: &str, token: &AccessToken) -> String {
    let token_line = format!("{name}={}\n", shell_quoted(token.expose()));
    let time_line = token
        .expires_at()
        .and_then(rfc3339)
        .map(|at| format!("{name}_EXPIRES_AT={at}\n"));
    token_line + &time_line.unwrap_or_default()
}

/// Quotes a value only if a shell would interpret it, which is rarely the case for an issued token.
fn shell_quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/=".contains(&byte);
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Checks that this is a valid name for a shell variable.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.is_empty() && name.bytes().all(fit) && !name.as_bytes()[0].is_ascii_digit() {
        return Ok(());
    }
    Err(Failure::usage(
        "`--name` must be the name of a variable: letters, digits and `_`, not starting with a digit",
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hallpass::{Clock as _, SystemClock};

    use super::*;

    #[test]
    fn values_are_quoted_only_if_necessary() {
        assert_eq!(shell_quoted("eyJ.a-b_c+d/e=="), "eyJ.a-b_c+d/e==");
        assert_eq!(shell_quoted("~a$b"), "'~a$b'");
        assert_eq!(shell_quoted("a'b"), r"'a'\''b'");
    }

    #[test]
    fn names_are_valid_variable_names() {
        for (name, fit) in [
            ("ACCESS_TOKEN", true),
            ("_x9", true),
            ("", false),
            ("9x", false),
            ("a-b", false),
            ("A=B", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fit, "{name}");
        }
    }

    #[test]
    fn json_contains_token_and_metadata() {
        let token =
            AccessToken::bearer("abc", SystemClock.moment(), Duration::from_secs(60)).unwrap();
        let value = token_json(&token.with_scopes("a b".parse().unwrap()));
        assert_eq!(
            (&value["access_token"], &value["scope"]),
            (&json!("abc"), &json!("a b"))
        );
        assert!(value["expires_in"].as_u64().unwrap() >= 58);
        let eternal = AccessToken::bearer("abc", SystemClock.moment(), Duration::MAX).unwrap();
        assert!(token_json(&eternal)["expires_at"].is_null());
        // Beyond the year 9999, which RFC 3339 cannot express.
        let millennia = Duration::from_secs(1_000_000_000_000);
        let long = AccessToken::bearer("abc", SystemClock.moment(), millennia).unwrap();
        assert!(token_json(&long)["expires_at"].is_null());
        assert_eq!(variable_lines("T", &long), "T=abc\n");
    }
}
