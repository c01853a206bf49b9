//! The command line. No flag takes a secret, since the process list shows flags to other users.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    CommandFactory as _, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use hallpass::{endpoint::SecurityProfile, profiles::AuthenticationMethod};

mod effect;
mod keygen;

pub(crate) use keygen::{KeyAlgorithm, Keygen, PublicForm};

/// Get OAuth 2.0 access tokens for shells, cron jobs, timers and kubectl.
///
/// The authorization server, the client and the requested scopes come from a profile in the configuration file, from
/// environment variables, or from flags. Secrets come from a reference in the profile, or from a variable such as
/// `HALLPASS_CLIENT_SECRET`; no flag accepts one. Tokens are cached between runs until they expire.
#[derive(Debug, Parser)]
#[command(name = "hallpass", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the output could not be written
  2  invalid command line
  3  local configuration error: a profile, a variable, a secret, a certificate
  4  the credentials were refused, or a scope was not granted
  5  a server is unreachable, overloaded or too slow: try again later
  6  the API returned an error
  7  the response of the token endpoint is not usable
`hallpass exec` exits with the exit code of its command, with 127 if the command does not exist,
and with 126 if it cannot be started.";

/// The options of every subcommand.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// Profile in the configuration file [default: $HALLPASS_PROFILE, or `default`]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Configuration file [default: $HALLPASS_CONFIG, or the user's `hallpass/config.toml`]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Do not read or write the token cache (`token`, `exec`, `request`)
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Print a log and the causes of errors; repeat for more detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print an access token
    Token(Token),
    /// Run a command with an access token in its environment
    Exec(Exec),
    /// Send an HTTP request with an access token to an API
    Request(Request),
    /// Decode a JWT from standard input, without verifying it
    Inspect(Inspect),
    /// Check each step of a token request, and suggest a fix for the step that fails
    Doctor(Doctor),
    /// List or remove cached tokens
    Cache(Cache),
    /// Generate a private key for client authentication, and print its public key
    Keygen(Keygen),
    /// Generate a shell completion script
    Completions(Completions),
    /// Generate manual pages
    Man(Man),
}

/// The server, the client and the request of a token. Each flag overrides the profile and the environment.
#[derive(clap::Args, Debug, Default)]
#[allow(clippy::struct_field_names)] // Named as the flags are.
#[command(next_help_heading = "Token request")]
pub(crate) struct Client {
    /// Scopes to request, separated by spaces
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,
    /// Audience of the token; may be repeated
    #[arg(long)]
    pub(crate) audience: Vec<String>,
    /// Resource of the token, as an absolute URI (RFC 8707); may be repeated
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Vec<String>,
    /// Additional parameter of the token request; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) parameter: Vec<String>,
    /// Token endpoint of the authorization server
    #[arg(long, value_name = "URL", help_heading = SERVER_AND_CLIENT)]
    pub(crate) token_endpoint: Option<String>,
    /// Issuer identifier of the authorization server, for discovery of its token endpoint
    #[arg(long, value_name = "URL", help_heading = SERVER_AND_CLIENT)]
    pub(crate) issuer: Option<String>,
    /// Provider with built-in settings, such as `camall`, `auth0` or `okta`
    #[arg(long, value_name = "NAME", help_heading = SERVER_AND_CLIENT)]
    pub(crate) provider: Option<String>,
    /// Client identifier
    #[arg(long, value_name = "ID", help_heading = SERVER_AND_CLIENT)]
    pub(crate) client_id: Option<String>,
    /// Client authentication method
    #[arg(long, value_parser = authentication_method(), value_name = "METHOD", help_heading = SERVER_AND_CLIENT)]
    pub(crate) authentication: Option<AuthenticationMethod>,
    /// Bind tokens to the private key at this reference, such as `file:/run/secrets/dpop.pem` (DPoP, RFC 9449)
    #[arg(long, value_name = "REFERENCE", help_heading = SERVER_AND_CLIENT)]
    pub(crate) dpop: Option<String>,
    /// Hold the client to a security profile
    #[arg(long, value_parser = security_profile(), value_name = "NAME", help_heading = SERVER_AND_CLIENT)]
    pub(crate) security_profile: Option<SecurityProfile>,
    /// Timeout for token requests, such as `10s`
    #[arg(long, value_name = "DURATION", help_heading = SERVER_AND_CLIENT)]
    pub(crate) timeout: Option<String>,
    /// Allow plain HTTP to loopback addresses, for tests
    #[arg(long, help_heading = SERVER_AND_CLIENT)]
    pub(crate) danger_allow_http_on_loopback: bool,
    /// Allow server, client and credential from different sources, such as a profile and a variable
    #[arg(long, help_heading = SERVER_AND_CLIENT)]
    pub(crate) danger_allow_mixed_settings: bool,
}

const SERVER_AND_CLIENT: &str = "Authorization server and client";

/// Returns the parser of the names of the client authentication methods.
fn authentication_method() -> impl TypedValueParser<Value = AuthenticationMethod> {
    let methods = AuthenticationMethod::ALL.iter();
    let values = methods.map(|method| PossibleValue::new(method.name()).help(describe(*method)));
    PossibleValuesParser::new(values).try_map(|name| {
        AuthenticationMethod::from_name(&name).ok_or("not an authentication method")
    })
}

/// Returns the parser of the names of the security profiles.
fn security_profile() -> impl TypedValueParser<Value = SecurityProfile> {
    let fapi2 = PossibleValue::new("fapi2").help(SecurityProfile::Fapi2.title());
    PossibleValuesParser::new([fapi2]).try_map(|name| name.parse::<SecurityProfile>())
}

fn describe(method: AuthenticationMethod) -> &'static str {
    match method {
        AuthenticationMethod::ClientSecretPost => "Client secret in the request body",
        AuthenticationMethod::ClientSecretBasic => {
            "Client secret in HTTP Basic authentication, form-encoded (RFC 6749 section 2.3.1)"
        }
        AuthenticationMethod::ClientSecretBasicRaw => {
            "Client secret in HTTP Basic authentication, not encoded (not a registered method)"
        }
        AuthenticationMethod::PrivateKeyJwt => "Assertion signed with the client's private key",
        AuthenticationMethod::ClientSecretJwt => "Assertion signed with the client secret",
        AuthenticationMethod::WorkloadIdentity => {
            "Assertion issued by the platform (not a registered method)"
        }
        AuthenticationMethod::SpiffeJwt => "SPIFFE JWT-SVID (follows an Internet-Draft)",
        AuthenticationMethod::TlsClientAuth => {
            "Client certificate issued by an authority that the server trusts (mTLS)"
        }
        AuthenticationMethod::SelfSignedTlsClientAuth => {
            "Client certificate registered with the server (mTLS)"
        }
        AuthenticationMethod::None => "No client authentication",
        _ => "",
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct Token {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Name of the environment variable, for `--format env` [default: ACCESS_TOKEN]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// URL of the API request, for `--format dpop`
    #[arg(long, required_if_eq("format", "dpop"))]
    pub(crate) url: Option<String>,
    /// Method of the API request, for `--format dpop` [default: GET]
    #[arg(long, requires = "url")]
    pub(crate) method: Option<String>,
    /// Nonce from the `DPoP-Nonce` header of the API's last response, for `--format dpop`
    #[arg(long, requires = "url")]
    pub(crate) nonce: Option<String>,
    /// Fetch a new token and replace the cached one, for example after an API has refused it
    #[arg(long, conflicts_with = "no_cache")]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

/// The default name of the environment variable with the token.
pub(crate) const DEFAULT_VARIABLE: &str = "ACCESS_TOKEN";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The token only
    Text,
    /// Token, type, expiry and granted scopes as JSON
    Json,
    /// An `Authorization` header
    Header,
    /// `NAME=VALUE` lines for a shell or an environment file
    Env,
    /// `Authorization` and `DPoP` headers for one request with a token that is bound to a key (RFC 9449)
    Dpop,
    /// An `ExecCredential` for kubectl
    ExecCredential,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Exec {
    /// Name of the environment variable with the token
    #[arg(long, value_name = "NAME", default_value = DEFAULT_VARIABLE)]
    pub(crate) name: String,
    // Before `client`: its heading in the help applies to all arguments after it.
    /// Command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Request {
    /// HTTP method, such as GET
    pub(crate) method: String,
    /// URL of the request
    pub(crate) url: String,
    /// Additional header; may be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// File with the request body, at most 64 MiB; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// Print the status and the headers of the response before its body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Additional origin that may receive the token, such as `https://api.example`; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Timeout for the response headers, and for each part of the body; an upload has additional time
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) api_timeout: String,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Inspect {
    /// Nothing is accepted: the process list and the shell history would show a token on the command line.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Doctor {
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) action: CacheAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// List cached tokens by profile, server, expiry and scopes
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove cached tokens: all, or those of the profile set by `--profile`
    Clear,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// Shell of the script
    #[arg(value_enum)]
    pub(crate) shell: Option<Shell>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Man {
    /// Write the pages of all subcommands to this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) dir: Option<PathBuf>,
}

/// Returns clap's description of the command, for completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn each_authentication_method_has_a_description() {
        for method in AuthenticationMethod::ALL {
            assert!(!describe(*method).is_empty(), "{method}");
        }
    }

    // covers: I-14, C-31
    #[test]
    fn no_flag_takes_a_secret() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !name.contains("secret") && !name.contains("password"),
                    "{name}"
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
