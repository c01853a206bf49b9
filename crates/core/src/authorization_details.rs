use std::{fmt, sync::Arc};

#[cfg(feature = "authorization-details")]
mod parse;

#[cfg(feature = "authorization-details")]
pub use parse::InvalidAuthorizationDetails;

/// The authorization details of a request or a token (RFC 9396): a JSON array of objects, each with a `type`.
///
/// It is parsed with the feature `authorization-details`, from at most 32 KiB of JSON that nests at most 16 levels, in
/// which no object has a member twice. The text is canonical: the order of the array's objects, and that of an object's
/// members, do not count, and neither does white space. Numbers stay as they are written.
///
/// ```
/// # #[cfg(feature = "authorization-details")] {
/// use hallpass_core::{AuthorizationDetails, TokenRequest};
///
/// let details: AuthorizationDetails =
///     r#"[{"type": "account_information", "actions": ["list_accounts"]}]"#.parse()?;
/// assert!(details.types().eq(["account_information"]));
/// let request = TokenRequest::new().with_authorization_details(details);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AuthorizationDetails(Arc<Inner>);

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    json: Box<str>,
    /// Sorted, without duplicates.
    types: Box<[Box<str>]>,
}

impl AuthorizationDetails {
    /// Returns the canonical JSON: the `authorization_details` parameter.
    pub fn as_str(&self) -> &str {
        &self.0.json
    }

    /// Returns the types of the objects, sorted and without duplicates.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.0.types.iter().map(AsRef::as_ref)
    }
}

/// Shows the types alone: the other members may be about people or accounts.
impl fmt::Debug for AuthorizationDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationDetails")
            .field("types", &self.types().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
