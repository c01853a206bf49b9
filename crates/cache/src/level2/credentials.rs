//! The state of the credentials, which all processes share that have them.

use std::time::Duration;

use hallpass_core::{ErrorKind, TokenError};

use super::{Context, Judgement, SecondLevel, Step, Wait};
use crate::{
    entry::credentials::{self, CredentialDigest, CredentialState},
    polls::Polls,
    store::{Lease, StoreEntry, StoreKey},
    upstream::TRIAL_TIMEOUT,
};

/// The time for which credentials that the server accepted are used without another trial.
const ACCEPTED_TTL: Duration = Duration::from_secs(300);

/// The right of one fetch to use credentials, and to report how the server answered.
pub(crate) struct CredentialClaim {
    key: StoreKey,
    /// Present if it is the fleet's first fetch with them, which the others wait for.
    lease: Option<Lease>,
    /// The fence of the entry that says that they were accepted.
    accepted: Option<u64>,
}

impl CredentialClaim {
    /// Returns true if the server has accepted the credentials from another process.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }
}

/// The server's answer to a fetch with these credentials.
pub(crate) enum Answer<'a> {
    Accepted,
    /// An error, and the time for which it is cached.
    Failed(&'a TokenError, Duration),
    /// None, or one that says nothing about the credentials.
    Unknown,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(error: Option<&'a TokenError>, rest: Option<Duration>) -> Self {
        match (error, rest) {
            (None, _) => Self::Accepted,
            (Some(error), _) if error.kind() == ErrorKind::RequestRefused => Self::Accepted,
            (Some(error), Some(rest)) => Self::Failed(error, rest),
            (Some(_), None) => Self::Unknown,
        }
    }
}

impl SecondLevel {
    /// Admits a fetch with these credentials, or returns the failure that another process got with them, and its
    /// remaining time.
    ///
    /// For a `trial`, whose process does not know whether the server accepts them, the first process of the fleet gets
    /// a lease, and the others wait for its result, like the other keys of one process.
    pub(crate) async fn claim_credentials(
        &self,
        digest: CredentialDigest,
        trial: bool,
        context: Context<'_>,
    ) -> Result<CredentialClaim, (TokenError, Duration)> {
        let key = StoreKey::of_credentials(&self.namespace, &digest);
        let judge = |entry: &StoreEntry| {
            let now = context.clock.moment();
            match credentials::decode(entry.bytes(), entry.ttl(), now) {
                Some(state) => Judgement::Use((state, entry.fence())),
                None => Judgement::Ignore,
            }
        };
        let (mut found, mut lease) = (None, None);
        if trial {
            let polls = Polls::for_trial(TRIAL_TIMEOUT);
            // Nobody waits for longer than the lease, and so it is not extended.
            let mut wait = Wait::new(self, &key, TRIAL_TIMEOUT, polls, context);
            loop {
                match wait.next(judge).await {
                    Step::Found(state) => found = Some(state),
                    Step::Leased(granted) => lease = Some(granted),
                    Step::HolderLost => continue,
                    Step::Over | Step::Unavailable => {}
                }
                break;
            }
        } else if let Some(Some(entry)) = self.look_up(&key, context).await
            && let Judgement::Use(state) = judge(&entry)
        {
            found = Some(state);
        }
        let accepted = match found {
            Some((CredentialState::Failed(error, rest), _)) => return Err((error, rest)),
            Some((CredentialState::Accepted, fence)) => Some(fence),
            None => None,
        };
        Ok(CredentialClaim {
            key,
            lease,
            accepted,
        })
    }

    /// Shares the server's answer, if it concerns all processes with these credentials, and releases the lease.
    pub(crate) async fn report(
        &self,
        claim: CredentialClaim,
        answer: Answer<'_>,
        context: Context<'_>,
    ) {
        let CredentialClaim {
            key,
            lease,
            accepted,
        } = claim;
        let now = context.clock.moment();
        let entry = match answer {
            // Without a lease it might replace a failure that another process got in the meantime.
            Answer::Accepted if lease.is_some() => {
                credentials::accepted(ACCEPTED_TTL, now).map(|entry| (entry, ACCEPTED_TTL))
            }
            Answer::Failed(error, rest) => {
                credentials::failed(error, rest, now).map(|entry| (entry, rest))
            }
            Answer::Accepted | Answer::Unknown => None,
        };
        if let Some((entry, ttl)) = entry {
            // A failure replaces it; of several failures the longest one stays.
            if let Some(fence) = accepted {
                self.remove(&key, fence, context).await;
            }
            let put = self.store.put(&key, &entry, ttl, lease.as_ref());
            self.ask("put", self.write_timeout, put, context).await;
        }
        if let Some(lease) = lease {
            self.release(&key, &lease, context).await;
        }
    }
}
