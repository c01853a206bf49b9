//! Exit codes and error messages.

use std::{error::Error, fmt, io, process::ExitCode};

use anstyle::{AnsiColor, Style};
use hallpass::{
    ErrorKind, TokenError,
    endpoint::BuildError,
    profiles::{ProfileError, setting_hint},
};

/// The exit codes. They are documented in docs/command.md and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// Output could not be written, or a command could not be started.
    Output = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The local configuration is wrong: a profile, a variable, a secret, a certificate.
    Configuration = 3,
    /// The authorization server refused the credentials, or did not grant a scope.
    Refused = 4,
    /// A server was unreachable, too slow or overloaded: try again later.
    Unavailable = 5,
    /// The API responded with an error.
    Api = 6,
    /// The authorization server's response contains no usable token.
    Unusable = 7,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The reason why a run fails: an exit code, a message and its cause. It contains no secret at any depth.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    remedy: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            remedy: None,
            cause: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(Exit::Configuration, message)
    }

    /// Adds the remedy.
    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Prints to standard error, with the chain of causes if requested.
    pub(crate) fn print(&self, causes: bool) {
        let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
        // If standard error is closed, there is nowhere left to report to.
        let _ = self.write(&mut anstream::stderr(), red, causes);
    }

    fn write(&self, to: &mut dyn io::Write, red: Style, causes: bool) -> io::Result<()> {
        writeln!(to, "{red}hallpass:{red:#} {self}")?;
        if causes {
            let first = self.cause.as_ref().map(|cause| &**cause as &dyn Error);
            for cause in std::iter::successors(first, |&cause| cause.source()) {
                writeln!(to, "  caused by: {cause}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let exit = match error.kind() {
            // Another attempt would fail on this machine as well.
            _ if error.is_local() => Exit::Configuration,
            ErrorKind::Configuration => Exit::Configuration,
            ErrorKind::CredentialsRefused | ErrorKind::RequestRefused => Exit::Refused,
            ErrorKind::UnusableResponse => Exit::Unusable,
            // Kinds added later are treated as temporary.
            _ => Exit::Unavailable,
        };
        Self {
            remedy: setting_hint(&error),
            cause: CauseText::copy_chain(error.source()).map(Into::into),
            ..Self::new(exit, error.message())
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self {
            remedy: error.hint().map(str::to_owned),
            cause: CauseText::copy_chain(error.source()).map(Into::into),
            ..Self::configuration(error.message())
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        ProfileError::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let what = format!("the output could not be written: {}", error.kind());
        Self::new(Exit::Output, what).with_cause(error)
    }
}

/// The text of a chain of causes, for errors that are not stored or whose own text is already printed.
#[derive(Debug)]
pub(crate) struct CauseText {
    text: String,
    cause: Option<Box<Self>>,
}

impl CauseText {
    /// Copies the chain that starts with this cause.
    pub(crate) fn copy_chain(cause: Option<&(dyn Error + 'static)>) -> Option<Self> {
        cause.map(|cause| Self {
            text: cause.to_string(),
            cause: Self::copy_chain(cause.source()).map(Box::new),
        })
    }

    /// Returns the text of the deepest cause.
    pub(crate) fn deepest(&self) -> &str {
        self.cause
            .as_ref()
            .map_or(&self.text, |cause| cause.deepest())
    }
}

impl fmt::Display for CauseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for CauseText {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_kind_has_its_exit_code() {
        for (error, code) in [
            (TokenError::configuration("x"), 3),
            (TokenError::credentials_refused("x"), 4),
            (TokenError::request_refused("x"), 4),
            (TokenError::unavailable("x"), 5),
            (TokenError::unusable_response("x"), 7),
            (TokenError::unavailable("x").with_local(true), 3),
        ] {
            assert_eq!(Failure::from(error).exit().code(), code);
        }
    }

    #[test]
    fn hints_name_settings_and_no_methods() {
        use hallpass::endpoint::hints;

        let error = TokenError::configuration("x").with_hint(hints::ROOTS);
        let failure = Failure::from(error);
        assert_eq!(failure.message(), "x");
        assert!(failure.remedy().unwrap().contains("`ca_file`"), "{failure}");
        let error = BuildError::new("add_root_certificates_pem", "it is empty");
        assert_eq!(Failure::from(error).to_string(), "ca_file: it is empty");
        let error = BuildError::new("proxy", "x").with_hint(hints::PROXY_CREDENTIALS);
        let failure = Failure::from(error).to_string();
        assert!(!failure.contains("proxy_credentials"), "{failure}");
    }

    #[test]
    fn causes_are_printed_on_request() {
        let cause = io::Error::other(io::Error::other("the deepest"));
        let failure = Failure::from(TokenError::unavailable("no answer").with_source(cause));
        let shown = |causes| {
            let mut text = Vec::new();
            failure.write(&mut text, Style::new(), causes).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(shown(false), "hallpass: no answer\n");
        assert!(
            shown(true).contains("  caused by: the deepest\n"),
            "{}",
            shown(true)
        );
    }
}
