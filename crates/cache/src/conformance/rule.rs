use super::{checks, leases, subject::Subject};

/// A promise of [`TokenStore`](crate::TokenStore) that the kit can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// An entry is found as it was put, byte for byte, by every handle, with its fence.
    ReturnsStoredEntries,
    /// Entries and leases of one key do not affect another one.
    SeparatesKeys,
    /// An entry disappears when its time to live has passed, and its remaining time is known until then.
    ExpiresEntries,
    /// A look-up finds the old entry or the new one, never a part of either.
    ReplacesEntriesAtomically,
    /// Many calls at once all succeed.
    SupportsConcurrentCalls,
    /// An entry is removed only by the fence that it was put under.
    RemovesByFence,
    /// A put without a lease gets a new fence, and replaces only an entry that expires earlier.
    AcceptsPutsWithoutLease,
    /// Of many processes that request it at once, one gets the lease.
    GrantsOneLease,
    /// A lease ends when its time to live has passed.
    ExpiresLeases,
    /// An extended lease stays in force; one that has ended is not revived.
    ExtendsLeases,
    /// A lease is released by its holder only.
    ReleasesOwnLeases,
    /// Each lease has a higher fence than the one before, regardless of releases, removals and expiry.
    IncreasesFences,
    /// A put under an earlier lease changes nothing once a later lease or a later entry exists.
    IgnoresStalePuts,
    /// A lease whose request was dropped ends no later than its time to live.
    ExpiresAbandonedLeases,
    /// An entry is found or a lease taken in one step, and an entry that cannot be used counts as none.
    LooksUpOrLeases,
    /// Waiting processes learn of a put, a removal and a released lease, and the store says whether they do.
    NotifiesOfChanges,
    /// Debug output shows no entry.
    RedactsDebug,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 17] = [
        Self::ReturnsStoredEntries,
        Self::SeparatesKeys,
        Self::ExpiresEntries,
        Self::ReplacesEntriesAtomically,
        Self::SupportsConcurrentCalls,
        Self::RemovesByFence,
        Self::AcceptsPutsWithoutLease,
        Self::GrantsOneLease,
        Self::ExpiresLeases,
        Self::ExtendsLeases,
        Self::ReleasesOwnLeases,
        Self::IncreasesFences,
        Self::IgnoresStalePuts,
        Self::ExpiresAbandonedLeases,
        Self::LooksUpOrLeases,
        Self::NotifiesOfChanges,
        Self::RedactsDebug,
    ];

    /// Returns the promise in a sentence.
    pub fn promise(self) -> &'static str {
        match self {
            Self::ReturnsStoredEntries => {
                "`look_up` returns the entry that was put last, and its fence"
            }
            Self::SeparatesKeys => "keys do not affect each other",
            Self::ExpiresEntries => "an entry disappears when its time to live has passed",
            Self::ReplacesEntriesAtomically => "`look_up` never returns a part of an entry",
            Self::SupportsConcurrentCalls => {
                "every method may be called from any number of tasks at once"
            }
            Self::RemovesByFence => "`remove` removes the entry with this fence, and no other one",
            Self::AcceptsPutsWithoutLease => {
                "without a lease an entry gets a new fence, and replaces one that expires earlier"
            }
            Self::GrantsOneLease => "at most one lease on a key is in force at a time",
            Self::ExpiresLeases => "a lease expires after its time to live",
            Self::ExtendsLeases => "`extend` extends a lease that is in force, and no other one",
            Self::ReleasesOwnLeases => "`release` leaves another process's lease alone",
            Self::IncreasesFences => "fence numbers increase with each lease, and are never reused",
            Self::IgnoresStalePuts => "a put under an earlier lease overwrites nothing newer",
            Self::ExpiresAbandonedLeases => "a dropped call has happened in full or not at all",
            Self::LooksUpOrLeases => {
                "`look_up_or_lease` returns the entry, and grants a lease only without one"
            }
            Self::NotifiesOfChanges => {
                "`changed` returns after a put, a removal and a release, if `notifies` is true"
            }
            Self::RedactsDebug => "entries contain a token in clear, and are not shown",
        }
    }
}

pub(super) async fn check(rule: Rule, subject: &Subject) -> Result<(), String> {
    match rule {
        Rule::ReturnsStoredEntries => checks::returns_stored_entries(subject).await,
        Rule::SeparatesKeys => checks::separates_keys(subject).await,
        Rule::ExpiresEntries => checks::expires_entries(subject).await,
        Rule::ReplacesEntriesAtomically => checks::replaces_entries_atomically(subject).await,
        Rule::SupportsConcurrentCalls => checks::supports_concurrent_calls(subject).await,
        Rule::RemovesByFence => checks::removes_by_fence(subject).await,
        Rule::AcceptsPutsWithoutLease => checks::accepts_puts_without_lease(subject).await,
        Rule::GrantsOneLease => leases::grants_one_lease(subject).await,
        Rule::ExpiresLeases => leases::expires_leases(subject).await,
        Rule::ExtendsLeases => leases::extends_leases(subject).await,
        Rule::ReleasesOwnLeases => leases::releases_own_leases(subject).await,
        Rule::IncreasesFences => leases::increases_fences(subject).await,
        Rule::IgnoresStalePuts => leases::ignores_stale_puts(subject).await,
        Rule::ExpiresAbandonedLeases => leases::expires_abandoned_leases(subject).await,
        Rule::LooksUpOrLeases => leases::looks_up_or_leases(subject).await,
        Rule::NotifiesOfChanges => checks::notifies_of_changes(subject).await,
        Rule::RedactsDebug => checks::redacts_debug(subject).await,
    }
}
