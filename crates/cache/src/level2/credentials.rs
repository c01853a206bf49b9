//! The state of the credentials, which all processes share that have them.

use std::time::Duration;

use hallpass_core::{ErrorKind, Moment, TokenError};

use super::{
    Context, EntryUse, SecondLevel,
    wait::{Step, Wait},
};
use crate::{
    entry::answers::{self, Answer, CredentialDigest, CredentialState},
    polls::Polls,
    store::{Lease, StoreEntry, StoreKey},
    upstream::TRIAL_TIMEOUT,
};

/// The time for which credentials that the server accepted are used without another trial.
const ACCEPTED_TTL: Duration = Duration::from_secs(300);

/// The right of one fetch to use credentials, and to report how the server answered.
pub(crate) struct CredentialClaim {
    digest: CredentialDigest,
    /// Present if it is the fleet's first fetch with them, which the others wait for.
    lease: Option<Lease>,
    /// The entry before the fetch.
    before: Option<StoreEntry>,
    is_accepted: bool,
}

impl CredentialClaim {
    /// Returns the answer to share with processes that have the same credentials, if the server refused the request.
    pub(crate) fn refusal(&self, outcome: Outcome<'_>, now: Moment) -> Option<Answer> {
        let Outcome::RequestRefused(error, rest) = outcome else {
            return None;
        };
        Answer::failed(self.digest, error, rest?, now)
    }

    /// Returns true if the server has accepted the credentials from another process.
    pub(crate) fn is_accepted(&self) -> bool {
        self.is_accepted
    }
}

/// The outcome of a fetch with these credentials.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    Accepted,
    /// The credentials were accepted, but the request was refused with this error, which is cached for this time.
    RequestRefused(&'a TokenError, Option<Duration>),
    /// An error, and the time for which it is cached.
    Failed(&'a TokenError, Duration),
    /// None, or one that says nothing about the credentials.
    Unknown,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(error: Option<&'a TokenError>, rest: Option<Duration>) -> Self {
        match (error, rest) {
            (None, _) => Self::Accepted,
            (Some(error), rest) if error.kind() == ErrorKind::RequestRefused => {
                Self::RequestRefused(error, rest)
            }
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
        let key = StoreKey::of_credentials(&self.namespace);
        let state = |entry: &StoreEntry| {
            let now = context.clock.moment();
            answers::state(entry.bytes(), digest, entry.ttl(), context.policy, now)
        };
        let mut claim = CredentialClaim {
            digest,
            lease: None,
            before: None,
            is_accepted: false,
        };
        let mut found = None;
        if trial {
            let polls = Polls::for_trial(TRIAL_TIMEOUT);
            // Nobody waits for longer than the lease, and so it is not extended.
            let mut wait = Wait::new(self, &key, TRIAL_TIMEOUT, polls, context);
            let evaluate = |entry: &StoreEntry| match state(entry) {
                Some(state) => EntryUse::Use((state, entry.clone())),
                None => EntryUse::Ignore,
            };
            loop {
                match wait.next(evaluate).await {
                    Step::Found((state, entry)) => {
                        found = Some(state);
                        claim.before = Some(entry);
                    }
                    Step::Leased(lease) => claim.lease = Some(lease),
                    Step::HolderLost => continue,
                    Step::Over | Step::Unavailable => {}
                }
                break;
            }
            claim.before = claim.before.or_else(|| wait.into_unusable());
        } else {
            claim.before = self.look_up(&key, context).await.flatten();
            found = claim.before.as_ref().and_then(state);
        }
        match found {
            Some(CredentialState::Failed(error, rest)) => Err((error, rest)),
            found => Ok(CredentialClaim {
                is_accepted: found.is_some(),
                ..claim
            }),
        }
    }

    /// Puts the server's answer, beside those to other credentials of the entry `before`.
    pub(super) async fn put_answer(
        &self,
        key: &StoreKey,
        answer: Answer,
        before: Option<&StoreEntry>,
        lease: Option<&Lease>,
        context: Context<'_>,
    ) {
        let bytes = before.map_or(&[][..], StoreEntry::bytes);
        let entry = answers::encode(answer, bytes, context.clock.moment());
        let Some((entry, ttl)) = entry else { return };
        // Without a lease only a shorter one would be replaced.
        if let Some(before) = before.filter(|_| lease.is_none()) {
            self.remove(key, before.fence(), context).await;
        }
        let put = self.store.put(key, &entry, ttl, lease);
        self.ask("put", self.write_timeout, put, context).await;
    }

    /// Shares the server's answer, if it concerns all processes with these credentials, and releases the lease.
    pub(crate) async fn report(
        &self,
        claim: CredentialClaim,
        outcome: Outcome<'_>,
        context: Context<'_>,
    ) {
        let key = StoreKey::of_credentials(&self.namespace);
        let CredentialClaim {
            digest,
            lease,
            before,
            is_accepted: _,
        } = claim;
        let now = context.clock.moment();
        let answer = match outcome {
            // Without a lease it might replace a failure that another process got in the meantime.
            Outcome::Accepted | Outcome::RequestRefused(..) if lease.is_some() => {
                Answer::accepted(digest, ACCEPTED_TTL, now)
            }
            Outcome::Failed(error, rest) => Answer::failed(digest, error, rest, now),
            Outcome::Accepted | Outcome::RequestRefused(..) | Outcome::Unknown => None,
        };
        if let Some(answer) = answer {
            self.put_answer(&key, answer, before.as_ref(), lease.as_ref(), context)
                .await;
        }
        if let Some(lease) = lease {
            self.release(&key, &lease, context).await;
        }
    }
}
