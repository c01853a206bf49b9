use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::{Arc, LazyLock, OnceLock},
};

use crate::{AuthorizationDetails, ScopeSet};

/// The parameters of a token that a caller requests: scopes, resources, audiences, authorization
/// details, extra parameters.
///
/// `TokenRequest::default()` means the source's own configuration, and is the request that nearly every service makes.
/// Equality and hash are the key under which a cache stores the token: two requests are equal if their parameters are
/// the same, in any order. A clone costs one reference count, and the hash is computed once.
///
/// ```
/// use hallpass_core::TokenRequest;
///
/// let one = TokenRequest::new()
///     .with_scopes("read write".parse()?)
///     .with_resource("https://orders.example/api")?;
/// let other = TokenRequest::new()
///     .with_resource("https://orders.example/api")?
///     .with_scopes("write read".parse()?);
/// assert_eq!(one, other);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// `None` is the default request, so that the hot path creates and compares it without touching memory.
#[derive(Clone, Default)]
pub struct TokenRequest(Option<Arc<Inner>>);

#[derive(Default)]
struct Inner {
    fields: Fields,
    hash: OnceLock<u64>,
}

/// Everything that changes the token is a field here and nowhere else: the derives make each field part of the key.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Fields {
    scopes: ScopeSet,
    /// Sorted, without duplicates.
    resources: Box<[Box<str>]>,
    /// Sorted, without duplicates.
    audiences: Box<[Box<str>]>,
    parameters: BTreeMap<Box<str>, Box<str>>,
    authorization_details: Option<AuthorizationDetails>,
}

/// Names that a grant, the client authentication or a dedicated method manage, and those of the password grant, which
/// is not for machines.
const RESERVED: [&str; 22] = [
    "access_token",
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
    "authorization_details",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token",
    "subject_token_type",
    "username",
];

/// The key of all requests' hashes: random, so that an attacker cannot create colliding requests in a cache's map, and
/// shared by the process, since a request carries its hash.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl TokenRequest {
    /// Creates the default request, which uses the source's own configuration.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Sets the scopes (RFC 6749 section 3.3), replacing earlier ones.
    #[must_use]
    pub fn with_scopes(self, scopes: ScopeSet) -> Self {
        self.change(|fields| fields.scopes = scopes)
    }

    /// Adds a resource (RFC 8707 section 2).
    ///
    /// # Errors
    ///
    /// A resource is an absolute URI without a fragment.
    pub fn with_resource(self, resource: &str) -> Result<Self, InvalidRequest> {
        if !is_absolute_uri(resource) {
            return Err(InvalidRequest::new(
                "a `resource` must be an absolute URI without a fragment, such as `https://api.example/orders` (RFC 8707 section 2)",
            ));
        }
        Ok(self.change(|fields| insert(&mut fields.resources, resource)))
    }

    /// Adds an audience: the `audience` parameter of RFC 8693 section 2.1, which several servers read with client
    /// credentials as well.
    ///
    /// # Errors
    ///
    /// An empty audience is refused.
    pub fn with_audience(self, audience: &str) -> Result<Self, InvalidRequest> {
        if audience.is_empty() {
            return Err(InvalidRequest::new(
                "an `audience` must not be empty; leave it out instead",
            ));
        }
        Ok(self.change(|fields| insert(&mut fields.audiences, audience)))
    }

    /// Sets the authorization details (RFC 9396 section 6), replacing earlier ones.
    #[must_use]
    pub fn with_authorization_details(self, details: AuthorizationDetails) -> Self {
        self.change(|fields| fields.authorization_details = Some(details))
    }

    /// Adds a server-specific parameter. It becomes part of the cache key; its value is never shown.
    ///
    /// # Errors
    ///
    /// An empty name or value, a name outside printable ASCII, one that is already set, and one reserved by OAuth
    /// (`client_id`, `scope` and so on, which have methods of their own) are refused.
    pub fn with_parameter(self, name: &str, value: &str) -> Result<Self, InvalidRequest> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRequest::new(
                "an extra parameter's name must be printable ASCII and not empty",
            ));
        }
        if RESERVED.contains(&name) {
            return Err(InvalidRequest::new(format!(
                "the parameter `{name}` is managed by the client; use the method for it instead of an extra parameter"
            )));
        }
        if value.is_empty() {
            return Err(InvalidRequest::new(format!(
                "the extra parameter `{name}` has no value; leave it out instead (RFC 6749 section 3.2 reads empty as absent)"
            )));
        }
        if self.parameters().any(|(set, _)| set == name) {
            return Err(InvalidRequest::new(format!(
                "the extra parameter `{name}` was set before; RFC 6749 section 3.2 forbids sending it twice"
            )));
        }
        Ok(self.change(|fields| {
            fields.parameters.insert(name.into(), value.into());
        }))
    }

    /// Fills in unset parts from `defaults`: scopes, resources, audiences and authorization details as a whole, extra
    /// parameters one by one.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        match (&self.0, &defaults.0) {
            (None, _) => defaults.clone(),
            (_, None) => self.clone(),
            (Some(ours), Some(theirs)) => self.clone().change(|fields| {
                let (ours, theirs) = (&ours.fields, &theirs.fields);
                if ours.scopes.is_empty() {
                    fields.scopes = theirs.scopes.clone();
                }
                if ours.resources.is_empty() {
                    fields.resources.clone_from(&theirs.resources);
                }
                if ours.audiences.is_empty() {
                    fields.audiences.clone_from(&theirs.audiences);
                }
                if ours.authorization_details.is_none() {
                    fields
                        .authorization_details
                        .clone_from(&theirs.authorization_details);
                }
                for (name, value) in &theirs.parameters {
                    fields
                        .parameters
                        .entry(name.clone())
                        .or_insert_with(|| value.clone());
                }
            }),
        }
    }

    /// Returns the requested scopes.
    pub fn scopes(&self) -> &ScopeSet {
        const NONE: &ScopeSet = &ScopeSet::EMPTY;
        self.0.as_ref().map_or(NONE, |inner| &inner.fields.scopes)
    }

    /// Returns the requested resources, sorted.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.fields()
            .flat_map(|fields| fields.resources.iter().map(AsRef::as_ref))
    }

    /// Returns the requested audiences, sorted.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.fields()
            .flat_map(|fields| fields.audiences.iter().map(AsRef::as_ref))
    }

    /// Returns the requested authorization details.
    pub fn authorization_details(&self) -> Option<&AuthorizationDetails> {
        self.0.as_ref()?.fields.authorization_details.as_ref()
    }

    /// Returns the extra parameters, sorted by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields().flat_map(|fields| {
            fields
                .parameters
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref()))
        })
    }

    /// Returns a canonical encoding, stable across processes and versions: a shared store derives its key from it.
    ///
    /// Two requests have the same bytes if and only if they are equal.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // With count and lengths, so that no two lists have the same encoding.
        let mut list = |items: &[&str]| {
            bytes.extend_from_slice(&(items.len() as u64).to_be_bytes());
            for item in items {
                bytes.extend_from_slice(&(item.len() as u64).to_be_bytes());
                bytes.extend_from_slice(item.as_bytes());
            }
        };
        let fields = self.0.as_ref().map(|inner| inner.fields.clone());
        // Destructured, so that a new field does not compile until it is included.
        let Fields {
            scopes,
            resources,
            audiences,
            parameters,
            authorization_details,
        } = fields.unwrap_or_default();
        list(&[scopes.as_str()]);
        list(&resources.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        list(&audiences.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let pairs = parameters
            .iter()
            .flat_map(|(name, value)| [&**name, &**value]);
        list(&pairs.collect::<Vec<_>>());
        // The lists before have a fixed number, so that an absent one leaves the encoding unambiguous.
        if let Some(details) = &authorization_details {
            list(&[details.as_str()]);
        }
        bytes
    }

    /// Returns true if it has no parameters: the source's own configuration applies.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }

    fn fields(&self) -> impl Iterator<Item = &Fields> {
        self.0.iter().map(|inner| &inner.fields)
    }

    fn change(self, change: impl FnOnce(&mut Fields)) -> Self {
        let mut fields = match self.0 {
            None => Fields::default(),
            Some(inner) => Arc::try_unwrap(inner)
                .map_or_else(|shared| shared.fields.clone(), |inner| inner.fields),
        };
        change(&mut fields);
        if fields == Fields::default() {
            return Self(None);
        }
        Self(Some(Arc::new(Inner {
            fields,
            hash: OnceLock::new(),
        })))
    }

    fn key_hash(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| {
            *inner.hash.get_or_init(|| SEED.hash_one(&inner.fields))
        })
    }
}

fn insert(sorted: &mut Box<[Box<str>]>, value: &str) {
    if let Err(at) = sorted.binary_search_by(|member| (**member).cmp(value)) {
        let mut list = std::mem::take(sorted).into_vec();
        list.insert(at, value.into());
        // Without spare capacity: a cache keeps each request.
        *sorted = list.into();
    }
}

/// Checks for an absolute URI (RFC 3986 section 4.3), as far as possible without knowing the scheme.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_char = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(scheme_char)
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte))
}

impl PartialEq for TokenRequest {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                Arc::ptr_eq(one, two)
                    || (self.key_hash() == other.key_hash() && one.fields == two.fields)
            }
            _ => false,
        }
    }
}

impl Eq for TokenRequest {}

impl Hash for TokenRequest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key_hash());
    }
}

/// Omits the values of extra parameters, which may be secret, and those of authorization details.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("scopes", self.scopes())
            .field("resources", &self.resources().collect::<Vec<_>>())
            .field("audiences", &self.audiences().collect::<Vec<_>>())
            .field("authorization_details", &self.authorization_details())
            .field(
                "parameters",
                &self.parameters().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .finish()
    }
}

/// The error for an invalid request. The message names the part, the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRequest(String);

impl InvalidRequest {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

#[cfg(test)]
mod tests;
