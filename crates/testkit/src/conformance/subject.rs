use std::{fmt, sync::Arc};

use hallpass_core::{ScopeSet, TokenSource};

/// A source under test, and what the kit must know of it.
///
/// Each thing that is told makes a rule stricter or possible at all; a rule for which nothing was told says so on
/// standard output, and passes.
pub struct Subject {
    pub(super) source: Arc<dyn TokenSource>,
    /// Its `Debug`, as it is when it is called.
    pub(super) show: Box<dyn Fn() -> String + Send>,
    pub(super) secrets: Vec<String>,
    pub(super) scopes: Vec<ScopeSet>,
    pub(super) resources: Resources,
    pub(super) wrong: Option<Arc<dyn TokenSource>>,
    pub(super) unreachable: Option<Arc<dyn TokenSource>>,
    pub(super) keep: Vec<Box<dyn Send>>,
}

pub(super) enum Resources {
    Untold,
    Sent(String, String),
    Refused,
}

impl Subject {
    /// A source that is set up to work.
    pub fn new(source: impl TokenSource + fmt::Debug + 'static) -> Self {
        let source = Arc::new(source);
        let shown = source.clone();
        Self {
            source,
            show: Box::new(move || format!("{shown:?}\n{shown:#?}")),
            secrets: Vec::new(),
            scopes: Vec::new(),
            resources: Resources::Untold,
            wrong: None,
            unreachable: None,
            keep: Vec::new(),
        }
    }

    /// A secret that the source holds, at least six characters long: it is looked for in everything that is shown.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Two different sets of scopes, space-separated, that the server grants to the client.
    ///
    /// # Panics
    ///
    /// Where one is not a list of scopes, or both are the same: the description is wrong, not the source.
    #[must_use]
    pub fn scopes(mut self, one: &str, other: &str) -> Self {
        self.scopes = [one, other]
            .map(|scopes| {
                let parsed = scopes.parse();
                parsed.unwrap_or_else(|_| {
                    panic!("the subject's scopes `{scopes}` are not a list of scopes")
                })
            })
            .to_vec();
        assert!(
            self.scopes[0] != self.scopes[1],
            "the subject's two sets of scopes are the same"
        );
        self
    }

    /// Two different resources (RFC 8707), absolute URIs, that the server has tokens for.
    ///
    /// # Panics
    ///
    /// Where both are the same.
    #[must_use]
    pub fn resources(mut self, one: &str, other: &str) -> Self {
        assert!(one != other, "the subject's two resources are the same");
        self.resources = Resources::Sent(one.to_owned(), other.to_owned());
        self
    }

    /// The server knows no resources, and the source refuses them.
    #[must_use]
    pub fn refuses_resources(mut self) -> Self {
        self.resources = Resources::Refused;
        self
    }

    /// The same source with credentials that the server refuses.
    #[must_use]
    pub fn with_wrong_credentials(mut self, source: impl TokenSource + 'static) -> Self {
        self.wrong = Some(Arc::new(source));
        self
    }

    /// The same source, pointed at a server that nobody runs: [`raw::refused_url`](crate::raw::refused_url) has an
    /// address for it.
    #[must_use]
    pub fn with_unreachable_server(mut self, source: impl TokenSource + 'static) -> Self {
        self.unreachable = Some(Arc::new(source));
        self
    }

    /// Keeps something alive for as long as the rule runs: the server.
    #[must_use]
    pub fn keep(mut self, thing: impl Send + 'static) -> Self {
        self.keep.push(Box::new(thing));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("scopes", &self.scopes)
            .field("secrets", &self.secrets.len())
            .field("kept", &self.keep.len())
            .finish_non_exhaustive()
    }
}
