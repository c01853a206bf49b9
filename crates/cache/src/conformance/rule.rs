use super::{checks, leases, subject::Subject};

/// A promise of [`TokenStore`](crate::TokenStore) that the kit can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// An entry is found as it was put, byte for byte, by every handle, with its fence.
    ReturnsWhatWasPut,
    /// Entries and leases of one key do not affect another one.
    KeepsKeysApart,
    /// An entry disappears when its time to live has passed, and its remaining time is known until then.
    ExpiresEntries,
    /// A look-up finds the old entry or the new one, never a part of either.
    ReplacesEntriesAtOnce,
    /// Many calls at once all succeed.
    ServesManyAtOnce,
    /// An entry is removed only by the fence that it was put under.
    RemovesByFence,
    /// A put without a lease gets a new fence, and replaces only an entry that expires earlier.
    PutsWithoutALease,
    /// Of many processes that ask at once, one gets the lease.
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
    IgnoresLatePuts,
    /// A lease whose request was dropped ends no later than its time to live.
    KeepsNoLostLease,
    /// Waiting processes learn of a put, a removal and a released lease.
    NotifiesOfChanges,
    /// Debug output shows no entry.
    LeaksNothingInDebug,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 16] = [
        Self::ReturnsWhatWasPut,
        Self::KeepsKeysApart,
        Self::ExpiresEntries,
        Self::ReplacesEntriesAtOnce,
        Self::ServesManyAtOnce,
        Self::RemovesByFence,
        Self::PutsWithoutALease,
        Self::GrantsOneLease,
        Self::ExpiresLeases,
        Self::ExtendsLeases,
        Self::ReleasesOwnLeases,
        Self::IncreasesFences,
        Self::IgnoresLatePuts,
        Self::KeepsNoLostLease,
        Self::NotifiesOfChanges,
        Self::LeaksNothingInDebug,
    ];

    /// Returns the promise in a sentence.
    pub fn promise(self) -> &'static str {
        match self {
            Self::ReturnsWhatWasPut => {
                "`look_up` returns the entry that was put last, and its fence"
            }
            Self::KeepsKeysApart => "keys do not affect each other",
            Self::ExpiresEntries => "an entry disappears when its time to live has passed",
            Self::ReplacesEntriesAtOnce => "`look_up` never returns a part of an entry",
            Self::ServesManyAtOnce => "every method may be called from any number of tasks at once",
            Self::RemovesByFence => "`remove` removes the entry with this fence, and no other one",
            Self::PutsWithoutALease => {
                "without a lease an entry gets a new fence, and replaces one that expires earlier"
            }
            Self::GrantsOneLease => "at most one lease on a key is in force at a time",
            Self::ExpiresLeases => "a lease expires after its time to live",
            Self::ExtendsLeases => "`extend` extends a lease that is in force, and no other one",
            Self::ReleasesOwnLeases => "`release` leaves another process's lease alone",
            Self::IncreasesFences => "fence numbers increase with each lease, and are never reused",
            Self::IgnoresLatePuts => "a put under an earlier lease overwrites nothing newer",
            Self::KeepsNoLostLease => "a dropped call has happened in full or not at all",
            Self::NotifiesOfChanges => "`changed` returns after a put, a removal and a release",
            Self::LeaksNothingInDebug => "entries hold a token in clear, and are not shown",
        }
    }
}

pub(super) async fn check(rule: Rule, subject: &Subject) -> Result<(), String> {
    match rule {
        Rule::ReturnsWhatWasPut => checks::returns_what_was_put(subject).await,
        Rule::KeepsKeysApart => checks::keeps_keys_apart(subject).await,
        Rule::ExpiresEntries => checks::expires_entries(subject).await,
        Rule::ReplacesEntriesAtOnce => checks::replaces_entries_at_once(subject).await,
        Rule::ServesManyAtOnce => checks::serves_many_at_once(subject).await,
        Rule::RemovesByFence => checks::removes_by_fence(subject).await,
        Rule::PutsWithoutALease => checks::puts_without_a_lease(subject).await,
        Rule::GrantsOneLease => leases::grants_one_lease(subject).await,
        Rule::ExpiresLeases => leases::expires_leases(subject).await,
        Rule::ExtendsLeases => leases::extends_leases(subject).await,
        Rule::ReleasesOwnLeases => leases::releases_own_leases(subject).await,
        Rule::IncreasesFences => leases::increases_fences(subject).await,
        Rule::IgnoresLatePuts => leases::ignores_late_puts(subject).await,
        Rule::KeepsNoLostLease => leases::keeps_no_lost_lease(subject).await,
        Rule::NotifiesOfChanges => checks::notifies_of_changes(subject).await,
        Rule::LeaksNothingInDebug => checks::leaks_nothing_in_debug(subject).await,
    }
}
