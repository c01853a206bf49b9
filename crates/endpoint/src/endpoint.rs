use std::{fmt, sync::Arc};

use hallpass_core::TokenError;
use url::Url;

use crate::{
    BuildError,
    address::{Address, AddressRules},
};

/// Where an authorization server is: its token endpoint, as an address or to be found out.
///
/// Builders take whatever becomes one, so that an address is given as the text that it is:
///
/// ```
/// use hallpass_endpoint::{ClientCredentials, Endpoint, PublicClient};
///
/// let known = ClientCredentials::builder("https://login.example/token", "orders-service", PublicClient).build()?;
/// let same = Endpoint::new("https://login.example/token");
/// let known = ClientCredentials::builder(same, "orders-service", PublicClient).build()?;
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Endpoint(Kind);

#[derive(Clone)]
enum Kind {
    Known { token: String },
}

impl Endpoint {
    /// The token endpoint at this URL, which is checked when a source is built.
    pub fn new(token_endpoint: impl Into<String>) -> Self {
        Self(Kind::Known {
            token: token_endpoint.into(),
        })
    }

    pub(crate) fn locate(self, rules: AddressRules) -> Result<Located, BuildError> {
        match self.0 {
            Kind::Known { token } => {
                let token = Address::parse(&token, rules)?;
                if token.url().scheme() == "http" {
                    tracing::warn!(host = token.host(), "token requests go over plain HTTP");
                }
                Ok(Located::Known(Arc::new(Place { token })))
            }
        }
    }
}

impl From<&str> for Endpoint {
    fn from(token_endpoint: &str) -> Self {
        Self::new(token_endpoint)
    }
}

impl From<&String> for Endpoint {
    fn from(token_endpoint: &String) -> Self {
        Self::new(token_endpoint)
    }
}

impl From<String> for Endpoint {
    fn from(token_endpoint: String) -> Self {
        Self::new(token_endpoint)
    }
}

/// An address is not shown before it is checked: it may hold anything.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Known { .. } => f.write_str("Endpoint(..)"),
        }
    }
}

/// An endpoint whose addresses were checked, or will be once they are found out.
pub(crate) enum Located {
    Known(Arc<Place>),
}

/// The addresses of an authorization server.
#[derive(Debug)]
pub(crate) struct Place {
    token: Address,
}

impl Located {
    /// The addresses as they are now.
    #[allow(clippy::unused_async)]
    pub(crate) async fn place(&self) -> Result<Arc<Place>, TokenError> {
        match self {
            Self::Known(place) => Ok(place.clone()),
        }
    }

    /// What errors and traces call it.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Known(place) => place.host(),
        }
    }
}

impl Place {
    pub(crate) fn token_endpoint(&self) -> &Url {
        self.token.url()
    }

    pub(crate) fn host(&self) -> &str {
        self.token.host()
    }
}
