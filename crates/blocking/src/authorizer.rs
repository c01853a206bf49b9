use hallpass_core::authorize::Authorizer;

use crate::BlockingTokenSource;

/// An [`Authorizer`] for clients that block, with the thread that fetches its tokens.
///
/// ```
/// use hallpass_blocking::{BlockingAuthorizer, BlockingTokenSource};
/// use hallpass_core::authorize::Authorizer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let source = hallpass_testkit::StaticSource::new("fake");
/// let tokens = BlockingTokenSource::new(source)?;
/// let authorizer = Authorizer::builder(tokens.source()).allow_origin("https://api.example").build()?;
/// let authorizer = BlockingAuthorizer::new(tokens, authorizer);
/// # let _ = authorizer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BlockingAuthorizer {
    pub(crate) tokens: BlockingTokenSource,
    pub(crate) authorizer: Authorizer,
}

impl BlockingAuthorizer {
    /// Creates an authorizer whose tokens are fetched by the thread of `tokens`; `authorizer` should be built for its
    /// [`source`](BlockingTokenSource::source).
    pub fn new(tokens: BlockingTokenSource, authorizer: Authorizer) -> Self {
        Self { tokens, authorizer }
    }

    /// Returns the policy: which requests get a token.
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Returns the source of the thread that fetches the tokens.
    pub fn tokens(&self) -> &BlockingTokenSource {
        &self.tokens
    }
}
