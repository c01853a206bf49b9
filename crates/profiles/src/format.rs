//! The settings for a server whose requests or responses are not as RFC 6749 has them.

use std::sync::Arc;

use hallpass_core::SecretSource;
use hallpass_endpoint::{ClientCredentials, ExpiryFormat, SourceBuilder};
use hallpass_secrets::SecretReference;

use crate::error::ProfileError;

/// The formats of requests and responses, where they deviate from RFC 6749; none of them is set by default.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FormatSettings {
    /// The `grant_type` of a grant of the server's own.
    pub grant_type: Option<String>,
    /// Some(true) if requests are JSON objects.
    pub json_requests: Option<bool>,
    /// Headers of each request, by name.
    pub request_headers: Vec<(String, SecretReference)>,
    /// The server's name for bearer tokens.
    pub token_type_name: Option<String>,
    /// A JSON pointer to the token.
    pub token_member: Option<String>,
    /// A JSON pointer to the token's expiry.
    pub expiry_member: Option<String>,
    /// The format of the expiry.
    pub expiry_format: Option<ExpiryFormat>,
}

/// The headers with their opened references.
pub(crate) type Headers = Vec<(String, Arc<dyn SecretSource>)>;

impl FormatSettings {
    /// Returns these settings, with unset ones taken from those below.
    pub(crate) fn over(self, below: Self) -> Self {
        let headers = if self.request_headers.is_empty() {
            below.request_headers
        } else {
            self.request_headers
        };
        Self {
            grant_type: self.grant_type.or(below.grant_type),
            json_requests: self.json_requests.or(below.json_requests),
            request_headers: headers,
            token_type_name: self.token_type_name.or(below.token_type_name),
            token_member: self.token_member.or(below.token_member),
            expiry_member: self.expiry_member.or(below.expiry_member),
            expiry_format: self.expiry_format.or(below.expiry_format),
        }
    }

    /// Checks that settings that need each other are set.
    pub(crate) fn check(&self) -> Result<(), ProfileError> {
        let (without, needs) = match (&self.expiry_member, self.expiry_format) {
            (Some(_), None) => ("expiry_member", "expiry_format"),
            (None, Some(_)) => ("expiry_format", "expiry_member"),
            _ => return Ok(()),
        };
        let error = ProfileError::new(format!("`{without}` has no effect without `{needs}`"));
        Err(error.with_hint(format!("set `{needs}`, or remove `{without}`")))
    }

    /// Returns the references of the headers.
    pub(crate) fn references(&self) -> impl Iterator<Item = &SecretReference> {
        self.request_headers.iter().map(|(_, value)| value)
    }

    /// Returns the names of the settings that are set.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.grant_type.is_some(), "grant_type"),
            (self.json_requests == Some(true), "json_requests"),
            (!self.request_headers.is_empty(), "request_headers"),
            (self.token_type_name.is_some(), "token_type_name"),
            (self.token_member.is_some(), "token_member"),
            (self.expiry_member.is_some(), "expiry_member"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
    }

    /// Returns a text that differs between formats that yield different tokens; empty for the standard format.
    pub(crate) fn canonical(&self) -> Option<String> {
        let Self {
            grant_type,
            json_requests,
            request_headers,
            token_type_name,
            token_member,
            expiry_member,
            expiry_format,
        } = self;
        let text = |text: &Option<String>| text.clone();
        let parts = [
            ("grant_type", text(grant_type)),
            ("token_type_name", text(token_type_name)),
            ("token_member", text(token_member)),
            ("expiry_member", text(expiry_member)),
            (
                "expiry_format",
                expiry_format.map(|format| format!("{format:?}")),
            ),
            (
                "json_requests",
                json_requests.and_then(|json| json.then(String::new)),
            ),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        // A header may choose the tenant. Its value is not read, since it may be rotated.
        let headers = request_headers.iter();
        let headers = headers.map(|(name, value)| (&**name, value.canonical()));
        let parts = parts.chain(headers);
        let parts: Vec<_> = parts
            .map(|(name, value)| format!("{name}:{}:{value}", value.len()))
            .collect();
        (!parts.is_empty()).then(|| parts.concat())
    }

    /// Sets the formats of a source; `headers` are those of these settings, opened.
    pub(crate) fn apply_to(
        &self,
        mut source: SourceBuilder<ClientCredentials>,
        headers: &Headers,
    ) -> SourceBuilder<ClientCredentials> {
        if let Some(name) = &self.grant_type {
            source = source.grant_type(name);
        }
        if self.json_requests == Some(true) {
            source = source.json_requests();
        }
        for (name, value) in headers {
            source = source.request_header(name, value.clone());
        }
        if let Some(name) = &self.token_type_name {
            source = source.token_type_name(name);
        }
        if let Some(pointer) = &self.token_member {
            source = source.token_member(pointer);
        }
        if let (Some(pointer), Some(format)) = (&self.expiry_member, self.expiry_format) {
            source = source.expiry_member(pointer, format);
        }
        source
    }
}

/// Reads the name of a format.
pub(crate) fn parse_expiry_format(text: &str) -> Result<ExpiryFormat, &'static str> {
    Ok(match text {
        "seconds" => ExpiryFormat::Seconds,
        "milliseconds" => ExpiryFormat::Milliseconds,
        "unix_seconds" => ExpiryFormat::UnixSeconds,
        "unix_milliseconds" => ExpiryFormat::UnixMilliseconds,
        "rfc3339" => ExpiryFormat::Rfc3339,
        _ => {
            return Err(
                "expected `seconds`, `milliseconds`, `unix_seconds`, `unix_milliseconds` or `rfc3339`",
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-98
    #[test]
    fn formats_that_yield_different_tokens_differ() {
        type Change = fn(&mut FormatSettings);
        let header = |reference: &str| FormatSettings {
            request_headers: vec![("x-tenant".into(), reference.parse().unwrap())],
            ..FormatSettings::default()
        };
        let expiry = |format| FormatSettings {
            expiry_member: Some("/e".into()),
            expiry_format: Some(format),
            ..FormatSettings::default()
        };
        let changes: [Change; 5] = [
            |_| {},
            |format| format.json_requests = Some(true),
            |format| format.grant_type = Some("own".into()),
            |format| format.token_type_name = Some("own".into()),
            |format| format.token_member = Some("own".into()),
        ];
        let formats = changes.into_iter().map(|change| {
            let mut format = FormatSettings::default();
            change(&mut format);
            format
        });
        let all = formats.chain([
            header("env:A"),
            header("env:B"),
            header("command:print a"),
            header("command:print b"),
            expiry(ExpiryFormat::Seconds),
            expiry(ExpiryFormat::Milliseconds),
        ]);
        let all: Vec<_> = all.map(|format| format.canonical()).collect();
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one:?}");
        }
        assert_eq!(all[0], None);
    }
}
