//! The settings that every client of an authorization server has.

use std::sync::Arc;

use hallpass_core::{Clock, SystemClock};

use super::{
    body::{BodyFormat, ExtraHeader},
    client::{Hints, ServerClient},
    retry::{Pause, Retry},
};
use crate::{
    BuildError, ClientAuthentication, Endpoint, HttpTransport, Requirement, SecurityProfile,
    authentication::context::check_client_id, server::address::AddressRules,
};

/// The settings of a [`ServerClient`].
pub(crate) struct ClientSettings {
    pub(crate) endpoint: Endpoint,
    pub(crate) client_id: String,
    pub(crate) authentication: Box<dyn ClientAuthentication>,
    pub(crate) address_rules: AddressRules,
    pub(crate) allow_utf8: bool,
    pub(crate) body_format: BodyFormat,
    pub(crate) extra_headers: Vec<ExtraHeader>,
    pub(crate) transport: Option<HttpTransport>,
    pub(crate) retry: Retry,
    pub(crate) profile: Option<SecurityProfile>,
    pub(crate) hints: Option<Hints>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClientSettings {
    pub(crate) fn new(
        endpoint: Endpoint,
        client_id: String,
        authentication: Box<dyn ClientAuthentication>,
    ) -> Self {
        Self {
            endpoint,
            client_id,
            authentication,
            address_rules: AddressRules::default(),
            allow_utf8: false,
            body_format: BodyFormat::default(),
            extra_headers: Vec::new(),
            transport: None,
            retry: Retry::default(),
            profile: None,
            hints: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Returns true if there is an extra header of this name.
    pub(crate) fn has_header(&self, name: &str) -> bool {
        let mut names = self.extra_headers.iter().map(ExtraHeader::name);
        names.any(|known| known == name)
    }

    /// Checks the settings that do not depend on the server.
    pub(crate) fn check_client(&self) -> Result<(), BuildError> {
        check_client_id(&self.client_id, self.allow_utf8)?;
        self.retry.check()?;
        self.profile
            .map_or(Ok(()), |profile| self.check_profile(profile))
    }

    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        // Each setting is named, so that a new one needs a decision here.
        let Self {
            endpoint,
            client_id: _,
            authentication,
            address_rules,
            allow_utf8,
            body_format,
            extra_headers: _,
            transport,
            retry: _,
            profile: _,
            hints: _,
            clock: _,
        } = self;
        let excluded = [
            (
                address_rules.allow_http_on_loopback,
                "danger_allow_http_on_loopback",
                "plain HTTP is allowed",
                &Requirement::TLS,
            ),
            (
                *allow_utf8,
                "allow_utf8_credentials",
                "characters that RFC 6749 does not define are allowed",
                &Requirement::OAUTH,
            ),
            (
                *body_format == BodyFormat::Json,
                "json_requests",
                "requests are JSON",
                &Requirement::OAUTH,
            ),
        ];
        profile.exclude(&excluded)?;
        endpoint.check_profile(profile)?;
        if let Some(transport) = transport {
            transport.check_profile(profile)?;
        }
        authentication.check_profile(profile)
    }

    pub(crate) fn build(self) -> Result<ServerClient, BuildError> {
        self.check_client()?;
        if self.authentication.needs_discovery() {
            let need = "it needs the server's metadata";
            self.endpoint.check_discovered("authentication", need)?;
        }
        let addresses = self.endpoint.locate(self.address_rules)?;
        Ok(ServerClient {
            addresses,
            client_id: self.client_id.into(),
            allow_utf8: self.allow_utf8,
            body_format: self.body_format,
            extra_headers: self.extra_headers,
            authentication: self.authentication,
            transport: HttpTransport::or_default(self.transport)?,
            retry: self.retry,
            pause: Pause::default(),
            profile: self.profile,
            hints: self.hints,
            clock: self.clock,
        })
    }
}
