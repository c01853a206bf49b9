//! The server's record of tokens and calls, and the statements that it checks.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Microseconds since 1970. All processes are on one machine.
pub(crate) type Micros = u64;

pub(crate) const SECOND: Micros = 1_000_000;
/// Expired tokens are known for this long.
const MEMORY: Micros = 120 * SECOND;
/// The time within which a response reaches the client if no fault is in force.
const DELIVERY: Micros = SECOND;
/// The longest time of a fetch, with its retries.
const FETCH: Micros = 12 * SECOND;
/// The client counts a lifetime from before its request, which a fault may delay by this time.
pub(crate) const MARGIN: Micros = 3 * SECOND;

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// A client and an audience: the service has a token for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) client: String,
    pub(crate) audience: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.client, self.audience)
    }
}

struct Token {
    key: Key,
    issued: Micros,
    expires: Micros,
    revoked: Option<Micros>,
    /// The first and the last acceptance by the API.
    accepted: Option<(Micros, Micros)>,
    /// True if the response may have been lost.
    is_uncertain: bool,
}

/// A statement of the run. It holds if nothing contradicts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Statement {
    NotExpired,
    Known,
    Available,
    Recovered,
    Explained,
    RetryAfter,
    Commands,
}

impl Statement {
    pub(crate) const ALL: [Self; 7] = [
        Self::NotExpired,
        Self::Known,
        Self::Available,
        Self::Recovered,
        Self::Explained,
        Self::RetryAfter,
        Self::Commands,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NotExpired => "no API call has a token that had expired before the call began",
            Self::Known => "each API call has a token that the server issued for its audience",
            Self::Available => {
                "no call fails while a token that the API accepted before is valid for 3 s more"
            }
            Self::Recovered => {
                "after a refusal, a call has neither the refused token nor one revoked earlier"
            }
            Self::Explained => {
                "each issued token has a reason: first, refresh, expiry, revocation, refusal during a fetch, lost response or lost store"
            }
            Self::RetryAfter => {
                "no token request for a client and an audience within the server's Retry-After"
            }
            Self::Commands => "no run of the command fails without a fault",
        }
    }
}

/// The API's decision about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused,
    /// A fault of the API's own.
    Fault,
}

/// The server's record.
#[derive(Default)]
pub(crate) struct Ledger {
    tokens: HashMap<String, Token>,
    latest: BTreeMap<Key, String>,
    /// The first refusal of a call: its token, and the time.
    refused: HashMap<u64, (String, Micros)>,
    /// The last refusal of a token of each key.
    refusals: HashMap<Key, Micros>,
    /// The time of a 429 and the end of its wait, for each key.
    waits: HashMap<Key, (Micros, Micros)>,
    fault_in_force: bool,
    /// The machine was late until then.
    late_until: Micros,
    fault_ended: Micros,
    /// The last start of the service.
    started: Micros,
    /// The last time at which the store's entries were lost or unreadable.
    store_lost: Micros,
    pub(crate) violations: BTreeMap<Statement, Vec<String>>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Accepted calls of each key by each protocol.
    pub(crate) accepted: BTreeMap<(Key, &'static str), u64>,
}

impl Ledger {
    pub(crate) fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(crate) fn total(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn violate(&mut self, statement: Statement, seen: String) {
        eprintln!("check failed at {}: {}: {seen}", now(), statement.text());
        self.violations.entry(statement).or_default().push(seen);
    }

    /// Starts or ends a fault between clients and the token endpoint.
    pub(crate) fn fault(&mut self, in_force: bool) {
        self.fault_in_force = in_force;
        self.fault_ended = now();
        self.lose_responses(DELIVERY);
    }

    /// Returns true if a fault has been in force since then.
    pub(crate) fn had_fault_since(&self, start: Micros) -> bool {
        self.fault_in_force || self.fault_ended >= start
    }

    /// Notes that this machine ran a task late, as if a fault had been in force.
    pub(crate) fn late(&mut self) {
        self.count("moments at which this machine was late");
        let at = now();
        self.late_until = at + MARGIN;
        self.fault_ended = at;
        self.lose_responses(MARGIN);
    }

    /// Notes that tokens of the last moment may not have reached the client.
    fn lose_responses(&mut self, moment: Micros) {
        let at = now();
        let recent = self.tokens.values_mut();
        for token in recent.filter(|token| at < token.issued + moment) {
            token.is_uncertain = true;
        }
    }

    /// Notes a start of the service: its process has no token.
    pub(crate) fn start(&mut self) {
        self.started = now();
        self.lose_responses(DELIVERY);
    }

    /// Notes that a service that starts cannot read the store's entries written until now.
    pub(crate) fn lose_store(&mut self, until: Micros) {
        // Of overlapping losses the last one counts.
        self.store_lost = match until {
            Micros::MAX => until,
            _ if self.store_lost == Micros::MAX => until,
            _ => until.max(self.store_lost),
        };
    }

    /// Notes a token request, and checks that it is not within a wait that the server demanded.
    pub(crate) fn request(&mut self, key: &Key) {
        self.count("token requests");
        let at = now();
        let Some(&(said, until)) = self.waits.get(key) else {
            return;
        };
        // A late request may have been sent before; a new service with a lost store does not know of the wait.
        let is_fault = at > said + DELIVERY && at < until;
        if is_fault && self.started < said && self.late_until < said {
            let late = (at - said) / 1_000;
            self.violate(
                Statement::RetryAfter,
                format!("{key}: a request after {late} ms"),
            );
        }
    }

    /// Notes a 429 with this `Retry-After` in seconds.
    pub(crate) fn limit(&mut self, key: Key, seconds: u64) {
        let at = now();
        self.count("429 responses");
        self.waits.insert(key, (at, at + seconds * SECOND));
    }

    pub(crate) fn issue(&mut self, key: Key, token: String, seconds: u64) {
        let issued = now();
        let reason = self.reason(&key, issued);
        self.count("tokens issued");
        if let Some(reason) = reason {
            self.count(reason);
        } else if key.client != crate::COMMAND {
            let age = self.previous(&key).map_or(0, |last| issued - last.issued);
            let seen = format!("{key}, {} ms after the previous one", age / 1_000);
            self.violate(Statement::Explained, seen);
        }
        self.latest.insert(key.clone(), token.clone());
        self.tokens
            .retain(|_, token| issued < token.expires + MEMORY);
        let token_of_key = Token {
            key,
            issued,
            expires: issued + seconds * SECOND,
            revoked: None,
            accepted: None,
            is_uncertain: self.had_fault_since(issued - MARGIN) || issued < self.late_until,
        };
        self.tokens.insert(token, token_of_key);
    }

    fn previous(&self, key: &Key) -> Option<&Token> {
        self.latest.get(key).and_then(|text| self.tokens.get(text))
    }

    /// Returns the reason to issue a token for this key.
    fn reason(&self, key: &Key, at: Micros) -> Option<&'static str> {
        let Some(last) = self.previous(key) else {
            return Some("reason: first");
        };
        let lifetime = last.expires - last.issued;
        // The client's age of a token is that of its request, which a fault may have delayed.
        let delay = if last.is_uncertain {
            2 * MARGIN
        } else {
            DELIVERY
        };
        let reasons = [
            ("reason: revoked", last.revoked.is_some()),
            ("reason: expired", at >= last.expires),
            // From a fifth before the expiry on.
            ("reason: refresh", at + delay >= last.expires - lifetime / 5),
            (
                "reason: lost response",
                last.is_uncertain && last.accepted.is_none(),
            ),
            // The result of a fetch that was in progress at a refusal is discarded: it may be revoked as well.
            (
                "reason: overtaken by a refusal",
                last.accepted.is_none()
                    && self
                        .refusals
                        .get(key)
                        .is_some_and(|refused| refused.abs_diff(last.issued) < FETCH),
            ),
            (
                "reason: lost store",
                self.started > last.issued && self.store_lost > last.issued,
            ),
        ];
        let mut reasons = reasons.into_iter();
        reasons
            .find(|(_, applies)| *applies)
            .map(|(reason, _)| reason)
    }

    /// Decides about a call that began at `start`.
    pub(crate) fn call(
        &mut self,
        text: &str,
        audience: &str,
        protocol: &'static str,
        id: u64,
        start: Micros,
    ) -> Verdict {
        let at = now();
        self.count("API calls");
        let Some(token) = self.tokens.get_mut(text) else {
            self.violate(Statement::Known, format!("call {id}: an unknown token"));
            return Verdict::Refused;
        };
        if token.key.audience != audience {
            let seen = format!("call {id}: a token of {} at {audience}", token.key);
            self.violate(Statement::Known, seen);
            return Verdict::Refused;
        }
        if token.revoked.is_none() && at < token.expires {
            let first = token.accepted.map_or(at, |(first, _)| first);
            token.accepted = Some((first, at));
            let key = token.key.clone();
            *self.accepted.entry((key, protocol)).or_default() += 1;
            if self.refused.remove(&id).is_some() {
                self.count("calls that recovered");
            }
            return Verdict::Accepted;
        }
        let (key, expires, revoked) = (token.key.clone(), token.expires, token.revoked);
        if expires <= start {
            let late = (start - expires) / 1_000;
            let seen = format!("call {id}, {key}: {late} ms after the expiry");
            self.violate(Statement::NotExpired, seen);
        } else if at >= expires {
            self.count("tokens that expired on the way");
        }
        self.refusals.insert(key.clone(), at);
        if let Some((before, refused)) = self.refused.get(&id) {
            if before == text || revoked.is_some_and(|revoked| revoked < *refused) {
                let seen = format!("call {id}, {key}: refused twice");
                self.violate(Statement::Recovered, seen);
            }
        } else {
            self.count("calls refused");
            self.refused.insert(id, (text.to_owned(), at));
        }
        Verdict::Refused
    }

    /// Revokes the current token of a key, if it is in use, and old enough to be replaced at once.
    pub(crate) fn revoke(&mut self, key: &Key) -> bool {
        let at = now();
        let text = self.latest.get(key).cloned().unwrap_or_default();
        let Some(token) = self.tokens.get_mut(&text) else {
            return false;
        };
        let is_in_use = token.accepted.is_some() && token.revoked.is_none();
        let revoked = is_in_use && at < token.expires && at > token.issued + SECOND;
        if revoked {
            token.revoked = Some(at);
            self.count("tokens revoked");
        }
        revoked
    }

    /// Returns the keys with a token.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.latest.keys().cloned().collect()
    }

    /// Checks a call that failed: no token that this service has used may have been valid.
    pub(crate) fn failed(&mut self, key: &Key, (start, end): (Micros, Micros), why: &str) {
        self.count("calls that failed for lack of a token");
        let started = self.started;
        let valid = self.tokens.values().find(|token| {
            token.key == *key
                && token
                    .accepted
                    .is_some_and(|(first, last)| first < start && last > started)
                && token.revoked.is_none_or(|revoked| revoked > end)
                && token.expires > end + MARGIN
        });
        if let Some(token) = valid {
            let left = (token.expires - end) / 1_000;
            let seen = format!("{key}: {why}, with {left} ms left");
            self.violate(Statement::Available, seen);
        }
    }
}
