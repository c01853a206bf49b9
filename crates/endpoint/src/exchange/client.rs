//! A client of an authorization server: attempts, retries and changed credentials, for every kind of request.

use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::{Clock, ErrorKind, Hint, TokenError};
use http::header;

use super::{
    body::{BodyFormat, ExtraHeader, SentHeader, post},
    dpop::ProofState,
    form::Form,
    request::{Reply, ServerRequest},
    retry::{Attempts, Pause, Retry},
};
use crate::{
    AuthenticationContext, ClientAuthentication, Credentials, HttpTransport, SecurityProfile,
    authentication::profile,
    credential_digest, hints,
    response::{
        refusal::{self, Advice},
        skew::Skew,
    },
    server::addresses::{AddressSource, ServerAddresses},
};

/// An adapter's hints for its server's errors: a hint that replaces the general one, or `None`.
pub type Hints = fn(&TokenError) -> Option<Hint>;

/// A client of an authorization server.
pub(crate) struct ServerClient {
    pub(super) addresses: AddressSource,
    pub(super) client_id: Box<str>,
    pub(super) allow_utf8: bool,
    pub(super) body_format: BodyFormat,
    pub(super) extra_headers: Vec<ExtraHeader>,
    pub(super) authentication: Box<dyn ClientAuthentication>,
    pub(super) transport: HttpTransport,
    pub(super) retry: Retry,
    pub(super) pause: Pause,
    pub(super) profile: Option<SecurityProfile>,
    pub(super) hints: Option<Hints>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The inputs of one attempt.
struct Attempt {
    client: ClientPart,
    /// The request's epoch, read before its form was made.
    form_epoch: u64,
    form: Form,
}

/// The inputs of one attempt that do not depend on the request.
struct ClientPart {
    addresses: Arc<ServerAddresses>,
    /// The client authentication's epoch, read before its credentials were made.
    epoch: u64,
    credentials: Credentials,
    headers: Vec<SentHeader>,
}

impl ClientPart {
    fn differs(&self, refused: &Self, epoch_changed: bool) -> bool {
        let mut headers = self.headers.iter().zip(&refused.headers);
        self.credentials.differ(&refused.credentials, epoch_changed)
            || headers.any(|(now, refused)| !now.secret.matches(&refused.secret))
    }
}

impl ServerClient {
    /// Repeats attempts until one succeeds, a failure is permanent, or the retries or the time run out.
    pub(crate) async fn send<R: ServerRequest>(
        &self,
        request: &R,
    ) -> Result<R::Output, TokenError> {
        let mut tries = self.retry.tries(R::IDEMPOTENT);
        let mut retried = false;
        loop {
            match self.attempt(request, &mut retried, &tries).await {
                Ok(output) => return Ok(output),
                Err(error) => tries.after(error, self.host(), &self.pause).await?,
            }
        }
    }

    /// Runs one exchange, or two if the server refuses credentials that have changed since they were made: the new ones
    /// are tried at once, and at most once per call (`retried`), unless the policy allows one request only.
    pub(crate) async fn attempt<R: ServerRequest>(
        &self,
        request: &R,
        retried: &mut bool,
        tries: &Attempts,
    ) -> Result<R::Output, TokenError> {
        tries.wait(&self.pause).await?;
        let sent = self.prepare(request, tries).await?;
        let (sent, result) = self.exchange_with_proof(sent, request, tries).await?;
        let refused = self.report_refusal(&result, &sent, request);
        if !refused || !tries.may_repeat() || std::mem::replace(retried, true) {
            return result;
        }
        let Some(changed) = self.changed(&sent, request, tries).await else {
            return result;
        };
        tracing::info!(
            host = self.host(),
            "credentials changed, retrying with the new ones"
        );
        let (changed, result) = self.exchange_with_proof(changed, request, tries).await?;
        self.report_refusal(&result, &changed, request);
        result
    }

    /// Returns the host as shown in errors and traces.
    pub(crate) fn host(&self) -> &str {
        self.addresses.host()
    }

    /// Returns the server's addresses, reading its metadata if it is not cached.
    pub(crate) async fn addresses(&self) -> Result<Arc<ServerAddresses>, TokenError> {
        self.addresses.addresses(Duration::MAX).await
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn transport(&self) -> &HttpTransport {
        &self.transport
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    pub(crate) fn pause(&self) -> &Pause {
        &self.pause
    }

    #[cfg(feature = "unstable-id-jag")]
    pub(crate) fn set_retry(&mut self, retry: Retry) {
        self.retry = retry;
    }

    /// Returns a number that changes when the client's credentials do.
    pub(crate) fn epoch(&self) -> u64 {
        let headers = self.extra_headers.iter().map(ExtraHeader::epoch);
        headers.fold(self.authentication.epoch(), u64::wrapping_add)
    }

    /// Returns a digest of the client's credentials, and of all that its requests have besides.
    pub(crate) async fn digest(&self) -> Option<[u8; 32]> {
        let client = self.authentication.digest(&self.client_id).await?;
        if self.body_format == BodyFormat::Form && self.extra_headers.is_empty() {
            return Some(client);
        }
        let json = [u8::from(self.body_format == BodyFormat::Json)];
        let mut parts: Vec<&[u8]> = vec![&client, &json];
        let mut headers = Vec::new();
        for header in &self.extra_headers {
            headers.push((header.name(), header.read().await.ok()?));
        }
        for (name, sent) in &headers {
            parts.extend([name.as_bytes(), sent.secret.expose().as_bytes()]);
        }
        Some(credential_digest("request", &parts))
    }

    pub(crate) fn binds_tokens(&self) -> bool {
        self.authentication.binds_tokens()
    }

    /// Prepares an attempt, within the remaining time.
    async fn prepare<R: ServerRequest>(
        &self,
        request: &R,
        tries: &Attempts,
    ) -> Result<Attempt, TokenError> {
        let client = self.prepare_client(request, tries).await?;
        self.with_form(client, request, tries).await
    }

    async fn prepare_client<R: ServerRequest>(
        &self,
        request: &R,
        tries: &Attempts,
    ) -> Result<ClientPart, TokenError> {
        let late_metadata = || {
            TokenError::unavailable(
                "the server's metadata did not arrive within the call's deadline",
            )
            .with_host(self.host())
        };
        let addresses = tries
            .within(self.addresses.addresses(tries.left()), late_metadata)
            .await?;
        request.check(&addresses)?;
        let context = self.context(&addresses);
        let epoch = self.epoch();
        let credentials = self.authentication.credentials(&context);
        let credentials = tries
            .within(credentials, || self.late_credentials())
            .await?;
        if let Some(profile) = self.profile {
            let (bind, now) = (request.needs_binding(), self.clock.wall());
            profile::check(profile, &credentials, &context, bind, now)?;
        }
        let mut headers = Vec::with_capacity(self.extra_headers.len());
        for header in &self.extra_headers {
            let late = || deadline_error(&format!("the header `{}`", header.name()));
            headers.push(tries.within(header.read(), late).await?);
        }
        Ok(ClientPart {
            addresses: addresses.clone(),
            epoch,
            credentials,
            headers,
        })
    }

    async fn with_form<R: ServerRequest>(
        &self,
        client: ClientPart,
        request: &R,
        tries: &Attempts,
    ) -> Result<Attempt, TokenError> {
        let context = self.context(&client.addresses);
        let form_epoch = request.epoch();
        let form = request.form(&context);
        let form = tries
            .within(form, || deadline_error(request.wording().input))
            .await?;
        Ok(Attempt {
            client,
            form_epoch,
            form,
        })
    }

    fn context<'a>(&'a self, addresses: &'a ServerAddresses) -> AuthenticationContext<'a> {
        AuthenticationContext::at(&self.client_id, addresses, self.allow_utf8)
            .with_security_profile(self.profile)
    }

    /// Reports a refusal to the makers of the refused parts; returns true if there was one.
    fn report_refusal<R: ServerRequest>(
        &self,
        result: &Result<R::Output, TokenError>,
        sent: &Attempt,
        request: &R,
    ) -> bool {
        let Err(error) = result else {
            return false;
        };
        let refused = error.kind() == ErrorKind::CredentialsRefused;
        if refused && request.wording().is_input_refused(error) {
            request.refused(&sent.form);
        } else if refused {
            self.authentication.refused(&sent.client.credentials);
            for (header, sent) in self.extra_headers.iter().zip(&sent.client.headers) {
                header.refused(sent);
            }
        }
        refused
    }

    /// Prepares the attempt again, and returns it if its inputs differ from the refused ones. If they cannot, nothing is
    /// prepared: a signature may be a call to a service.
    async fn changed<R: ServerRequest>(
        &self,
        refused: &Attempt,
        request: &R,
        tries: &Attempts,
    ) -> Option<Attempt> {
        let Attempt {
            client: refused,
            form_epoch,
            form,
        } = refused;
        let is_form_fixed = || form.is_fixed() && request.epoch() == *form_epoch;
        // A header's secret may change without its epoch.
        let is_fixed = refused.credentials.provenance().fixed && refused.headers.is_empty();
        if is_fixed && self.epoch() == refused.epoch && is_form_fixed() {
            return None;
        }
        // If this fails, the server's error is more useful.
        let client = self.prepare_client(request, tries).await.ok()?;
        let changed = client.differs(refused, self.epoch() != refused.epoch);
        // The form may be a request to another server.
        if !changed && is_form_fixed() {
            return None;
        }
        let next = self.with_form(client, request, tries).await.ok()?;
        let epoch_changed = request.epoch() != *form_epoch;
        (changed || next.form.differs(form, epoch_changed)).then_some(next)
    }

    /// Runs one exchange without a proof, or one per nonce that the server demands (RFC 9449 section 8). Returns the last
    /// attempt with its result.
    ///
    /// # Errors
    ///
    /// The error of an attempt that was not sent, which refuses nothing of it.
    async fn exchange_with_proof<R: ServerRequest>(
        &self,
        mut sent: Attempt,
        request: &R,
        tries: &Attempts,
    ) -> Result<(Attempt, Result<R::Output, TokenError>), TokenError> {
        let with_certificate = sent.client.credentials.identity().is_some();
        let address = request.address(&sent.client.addresses, with_certificate)?;
        let mut proving = ProofState::new(request.prover(), address.url(), tries.may_repeat());
        loop {
            tries
                .within(proving.prove(), || deadline_error("the DPoP proof"))
                .await?;
            let deadline = tries.left();
            let result = self.exchange(&sent, request, &mut proving, deadline).await;
            let setting = request.wording().endpoint.setting;
            let result = result.map_err(|error| hints::for_address(error, setting));
            if !proving.is_demanded() {
                return Ok((sent, result));
            }
            let host = sent.client.addresses.host();
            tracing::debug!(host, "server demands a DPoP nonce, retrying with it");
            // An assertion may be used for one request only.
            sent = self.prepare(request, tries).await?;
        }
    }

    async fn exchange<R: ServerRequest>(
        &self,
        sent: &Attempt,
        request: &R,
        proving: &mut ProofState<'_>,
        deadline: Duration,
    ) -> Result<R::Output, TokenError> {
        let Attempt { client, form, .. } = sent;
        let ClientPart {
            addresses,
            credentials,
            headers,
            ..
        } = client;
        let identity = credentials.identity();
        let refusal_hint = credentials.provenance().refusal_hint.as_ref();
        let address = request.address(addresses, identity.is_some())?;
        let mut post = post(
            address.url().clone(),
            form.bytes(),
            credentials,
            self.body_format,
            headers,
        );
        if let Some(accept) = request.accept() {
            post.headers_mut().insert(header::ACCEPT, accept);
        }
        proving.put_on(post.headers_mut());

        // Taken before sending: after a slow response, a token must not live longer here than at the server.
        let requested_at = self.clock.moment();
        let answer = self
            .transport
            .exchange_as(post, identity, refusal_hint, deadline);
        let answer = answer
            .await
            .map_err(|error| error.with_host(address.host()))?;
        let proof_headers = proving.store_nonce(&answer.headers);
        // The response's date, moved back to the time at which the credentials were made.
        let elapsed = self.clock.now().saturating_since(requested_at.timestamp);
        let skew = |created_at: Option<_>| {
            created_at.and_then(|made| Skew::measure(&answer.headers, made, elapsed))
        };
        let reply = Reply {
            answer: &answer,
            form,
            credentials,
            client_id: &self.client_id,
            extra_headers: headers,
            requested_at,
            received_at: self.clock.wall(),
        };
        request.read(&reply).await.map_err(|error| {
            let error = error.with_status(answer.status).with_host(address.host());
            let (error, proof_hint) = proving.refused(error, &proof_headers);
            let (refused_hint, created_at) = if proving.is_refused(&error) {
                (None, proving.created_at())
            } else if request.wording().is_input_refused(&error) {
                (form.refusal_hint(), form.created_at())
            } else {
                (refusal_hint, credentials.provenance().created_at)
            };
            let adapter_hint = self.hints.and_then(|hints| hints(&error));
            let advice = Advice {
                skew: skew(created_at),
                adapter_hint,
                proof_hint,
                refused_hint,
            };
            refusal::advise(error, advice)
        })
    }

    /// Returns the error for credentials that used up the call's time, naming their method.
    #[cold]
    fn late_credentials(&self) -> TokenError {
        let method = self.authentication.method();
        let method = method.unwrap_or("client authentication");
        deadline_error(&format!("the credential for `{method}`")).with_hint(hints::LATE_CREDENTIALS)
    }
}

/// Returns the error for a part of the request that used up the call's time.
#[cold]
fn deadline_error(part: &str) -> TokenError {
    TokenError::unavailable(format!("{part} was not ready within the call's deadline"))
        .with_local(true)
}

impl fmt::Debug for ServerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerClient")
            .field("host", &self.host())
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}
