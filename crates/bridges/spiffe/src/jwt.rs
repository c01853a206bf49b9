use std::time::Duration;

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};

use crate::{
    WorkloadApi, error,
    messages::{JwtSvidMessage, JwtSvidRequest, JwtSvidResponse, select},
};

const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";

/// A source of JWT-SVIDs from the Workload API, for `SpiffeJwt` of hallpass-jwt; created by [`WorkloadApi::jwt_svid`].
///
/// Each read is one call of the agent, which caches SVIDs and renews them. With a token cache, that is one call for each
/// access token.
///
/// # Errors
///
/// Of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the agent has no identity for this process, the
/// socket may not be opened, or the SVID cannot be used; of kind
/// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if the agent is not running, restarts or does not answer: the
/// token request is then retried.
#[derive(Clone, Debug)]
pub struct JwtSvid {
    agent: WorkloadApi,
    audience: String,
    spiffe_id: Option<String>,
}

impl JwtSvid {
    pub(crate) fn new(agent: WorkloadApi, audience: String) -> Self {
        Self {
            agent,
            audience,
            spiffe_id: None,
        }
    }

    /// Selects one of several identities of this process. Default: the agent's default one.
    #[must_use]
    pub fn spiffe_id(mut self, id: impl Into<String>) -> Self {
        self.spiffe_id = Some(id.into());
        self
    }

    async fn fetch(&self) -> Result<JwtSvidResponse, SecretError> {
        let request = JwtSvidRequest {
            audience: vec![self.audience.clone()],
            spiffe_id: self.spiffe_id.clone().unwrap_or_default(),
        };
        let mut stream = self.agent.call(METHOD, request).await?;
        self.agent.first(&mut stream).await
    }
}

#[async_trait]
impl SecretSource for JwtSvid {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let response = self.agent.within(Duration::MAX, self.fetch()).await?;
        let id = self.spiffe_id.as_deref();
        let svid = select(response.svids, id, |svid: &JwtSvidMessage| &svid.spiffe_id);
        let svid = svid.ok_or_else(|| error::missing(self.agent.socket()))?;
        Secret::new(svid.svid).map_err(|_| error::unusable(self.agent.socket(), "it is empty"))
    }
}
