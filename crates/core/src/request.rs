use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::{Arc, LazyLock, OnceLock},
};

use crate::ScopeSet;

/// The parameters of a token that a caller requests: scopes, resources, audiences, extra parameters.
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
    resources: Vec<Box<str>>,
    /// Sorted, without duplicates.
    audiences: Vec<Box<str>>,
    parameters: BTreeMap<Box<str>, Box<str>>,
}

/// Names that a grant, the client authentication or a dedicated method manage, and those of the password grant, which
/// is not for machines.
const RESERVED: [&str; 21] = [
    "access_token",
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
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

    /// Fills in unset parts from `defaults`: scopes, resources and audiences as a whole, extra parameters one by one.
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
        } = fields.unwrap_or_default();
        list(&[scopes.as_str()]);
        list(&resources.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        list(&audiences.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let pairs = parameters
            .iter()
            .flat_map(|(name, value)| [&**name, &**value]);
        list(&pairs.collect::<Vec<_>>());
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

fn insert(sorted: &mut Vec<Box<str>>, value: &str) {
    if let Err(at) = sorted.binary_search_by(|member| (**member).cmp(value)) {
        // Usually the only one; a cache keeps each request.
        sorted.reserve_exact(1);
        sorted.insert(at, value.into());
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

/// Omits the values of extra parameters, which may be secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("scopes", self.scopes())
            .field("resources", &self.resources().collect::<Vec<_>>())
            .field("audiences", &self.audiences().collect::<Vec<_>>())
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
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn hash(request: &TokenRequest) -> u64 {
        let mut hasher = DefaultHasher::new();
        request.hash(&mut hasher);
        hasher.finish()
    }

    fn scopes(text: &str) -> TokenRequest {
        TokenRequest::new().with_scopes(text.parse().unwrap())
    }

    #[test]
    fn a_requests_hash_is_unpredictable_outside_the_process() {
        let request = scopes("a");
        let mut known = DefaultHasher::new();
        request.fields().for_each(|fields| fields.hash(&mut known));
        assert_ne!(request.key_hash(), known.finish());
    }

    // covers: C-62
    #[test]
    fn equal_wants_are_one_key_and_every_part_is_in_it() {
        let a = TokenRequest::new()
            .with_resource("https://a.example/")
            .unwrap()
            .with_resource("https://b.example/")
            .unwrap();
        let b = TokenRequest::new()
            .with_resource("https://b.example/")
            .unwrap()
            .with_resource("https://a.example/")
            .unwrap()
            .with_resource("https://a.example/")
            .unwrap();
        assert_eq!(a, b);
        assert_eq!(hash(&a), hash(&b));

        let all = [
            TokenRequest::new(),
            scopes("a"),
            scopes("a b"),
            scopes("A"),
            TokenRequest::new().with_resource("urn:a").unwrap(),
            TokenRequest::new().with_audience("urn:a").unwrap(),
            TokenRequest::new().with_parameter("x", "urn:a").unwrap(),
            TokenRequest::new().with_parameter("y", "urn:a").unwrap(),
            a,
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(one == other, at == other_at, "{one:?} {other:?}");
                assert_eq!(
                    hash(one) == hash(other),
                    at == other_at,
                    "{one:?} {other:?}"
                );
                assert_eq!(one.canonical() == other.canonical(), at == other_at);
            }
        }
    }

    #[test]
    fn asking_for_nothing_is_the_default() {
        assert!(scopes("").is_default());
        assert_eq!(
            scopes("a").with_scopes(ScopeSet::EMPTY),
            TokenRequest::default()
        );
    }

    #[test]
    fn a_clone_is_not_changed_by_what_is_added_to_the_other() {
        let base = scopes("a");
        let more = base.clone().with_audience("x").unwrap();
        assert_eq!(base, scopes("a"));
        assert_ne!(base, more);
    }

    // covers: C-10, C-11, C-38, C-61
    #[test]
    fn refusals_say_what_to_do() {
        let new = TokenRequest::new;
        let refusals = [
            (
                new().with_parameter("client_secret", "x"),
                "`client_secret` is managed",
            ),
            (new().with_parameter("password", "x"), "use the method"),
            (new().with_parameter("scope", "x"), "use the method"),
            (new().with_parameter("tenant", ""), "leave it out"),
            (new().with_parameter("", "x"), "printable ASCII"),
            (new().with_parameter("a\nb", "x"), "printable ASCII"),
            (
                new()
                    .with_parameter("a", "x")
                    .unwrap()
                    .with_parameter("a", "y"),
                "set before",
            ),
            (new().with_audience(""), "leave it out"),
            (new().with_resource(""), "absolute URI"),
            (new().with_resource("/orders"), "absolute URI"),
            (new().with_resource("https:"), "absolute URI"),
            (
                new().with_resource("https://api.example/#part"),
                "without a fragment",
            ),
            (
                new().with_resource("https://api.example/a b"),
                "absolute URI",
            ),
            (new().with_resource("1http://x"), "absolute URI"),
        ];
        for (result, expected) in refusals {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn defaults_fill_what_is_open() {
        let defaults = scopes("a")
            .with_audience("d")
            .unwrap()
            .with_parameter("t", "1")
            .unwrap()
            .with_parameter("u", "1")
            .unwrap();
        assert_eq!(TokenRequest::default().or(&defaults), defaults);
        assert_eq!(defaults.or(&TokenRequest::default()), defaults);
        let asked = scopes("b").with_parameter("t", "2").unwrap();
        let merged = asked.or(&defaults);
        assert_eq!(merged.scopes().as_str(), "b");
        assert_eq!(merged.audiences().collect::<Vec<_>>(), ["d"]);
        assert_eq!(
            merged.parameters().collect::<Vec<_>>(),
            [("t", "2"), ("u", "1")]
        );
    }

    // covers: F-99
    #[test]
    fn debug_hides_the_values_of_extra_parameters() {
        let request = TokenRequest::new()
            .with_parameter("api_key", "CANARY")
            .unwrap();
        let shown = format!("{request:?}");
        assert!(
            shown.contains("api_key") && !shown.contains("CANARY"),
            "{shown}"
        );
    }
}
