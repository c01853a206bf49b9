//! Checks that a token is bound to the key or to the certificate of the profile (RFC 9449, RFC 8705).

use hallpass::AccessToken;

use super::report::Report;
use crate::{
    config::Settings,
    failure::{Exit, Failure},
    jwt::Confirmation,
};

/// Reports the binding of the token. `key` is the thumbprint of the key of `dpop`, if there is one.
pub(super) fn report_binding(
    step: &'static str,
    settings: &Settings,
    key: Option<&str>,
    token: &AccessToken,
    report: &mut Report,
) {
    if let Some(key) = key {
        return report_key(step, key, token, report);
    }
    if !settings.authentication.binds_tokens() {
        report.skipped(step, "not needed: tokens are bearer tokens");
        return;
    }
    match Confirmation::read(token.expose(), "x5t#S256") {
        Confirmation::Opaque => report.ok(step, OPAQUE),
        Confirmation::Named(_) => report.ok(step, "bound to a certificate (`cnf`)"),
        Confirmation::Missing => report.warning(
            step,
            "the token names no certificate (`cnf`)",
            "if the server binds no tokens to certificates, set `bound_tokens` to `false`: they are then cached",
        ),
    }
}

const OPAQUE: &str =
    "the token is opaque: only the server's introspection names what it is bound to";

fn report_key(step: &'static str, key: &str, token: &AccessToken, report: &mut Report) {
    match Confirmation::read(token.expose(), "jkt") {
        Confirmation::Opaque => report.ok(step, format!("type {}; {OPAQUE}", token.token_type())),
        Confirmation::Named(named) if named == key => {
            report.ok(step, format!("bound to the key of `dpop`, `{key}`"));
        }
        Confirmation::Named(_) => {
            let failure = Failure::new(
                Exit::Unusable,
                format!("the token is bound to another key than that of `dpop`, `{key}`"),
            );
            let failure = failure.with_remedy(
                "check the server: it binds a token to the key that signed the request's proof",
            );
            report.failed(step, &failure);
        }
        Confirmation::Missing => report.warning(
            step,
            "the token names no key (`cnf`), so an API cannot verify that it is bound",
            "configure the server to add the claim `cnf` with `jkt` (RFC 9449 section 6.1)",
        ),
    }
}
