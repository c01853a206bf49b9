//! The command line. No flag takes a secret: whoever lists processes would read it.

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod keygen;

pub(crate) use keygen::{KeyAlgorithm, Keygen, PublicForm};

/// OAuth 2.0 access tokens for shells, cron jobs, timers and kubectl.
///
/// A profile in the configuration file, the environment, or flags say which server is asked, as which client, and for
/// what. Tokens are kept between runs, so that the server is asked once a token's lifetime.
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
`hallpass exec` exits with the exit code of its command, with 127 if the command does not exist, and with 126 if it
cannot be started.";

/// What every subcommand takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Common {
    /// Use this profile of the configuration file [default: HALLPASS_PROFILE, else `default`]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Read this configuration file [default: HALLPASS_CONFIG, else the user's]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Neither use nor keep tokens of other runs
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Tell what happens, and the causes of an error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a token
    Token(Token),
    /// Run a command with a token in its environment
    Exec(Exec),
    /// Call an API with a token
    Request(Request),
    /// Show what a JWT on standard input says, without judging it
    Inspect(Inspect),
    /// Check the way to a token step by step, with a remedy for what fails
    Doctor(Doctor),
    /// Show or remove the tokens that are kept between runs
    Cache(Cache),
    /// Make a private key, and print the public one for the server
    Keygen(Keygen),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page, or write all of them to a folder
    Man(Man),
}

/// Which server is asked, as which client, and for what: each in place of what the profile says.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_field_names)] // Named as the flags are.
#[command(next_help_heading = "What is asked for")]
pub(crate) struct Client {
    /// Ask for these scopes, with spaces between them
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Ask for a token for this audience; may be repeated
    #[arg(long)]
    pub(crate) audience: Vec<String>,
    /// Ask for a token for this resource, an absolute URI (RFC 8707); may be repeated
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Vec<String>,
    /// Send a parameter of the server's own along; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) parameter: Vec<String>,
    /// Ask this token endpoint
    #[arg(long, value_name = "URL", help_heading = "Who is asked")]
    pub(crate) token_endpoint: Option<String>,
    /// Ask the server with this issuer identifier, whose token endpoint its metadata names
    #[arg(long, value_name = "URL", help_heading = "Who is asked")]
    pub(crate) issuer: Option<String>,
    /// Ask a server that is known: `camall`, `auth0`, `okta` and so on
    #[arg(long, value_name = "NAME", help_heading = "Who is asked")]
    pub(crate) provider: Option<String>,
    /// Be this client
    #[arg(long, value_name = "ID", help_heading = "Who is asked")]
    pub(crate) client_id: Option<String>,
    /// Prove the client this way
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Who is asked")]
    pub(crate) authentication: Option<Authentication>,
    /// Wait so long for the token endpoint, such as `10s`
    #[arg(long, value_name = "TIME", help_heading = "Who is asked")]
    pub(crate) timeout: Option<String>,
    /// Allow plain HTTP to servers on this machine, for tests
    #[arg(long, help_heading = "Who is asked")]
    pub(crate) danger_allow_http_on_loopback: bool,
    /// Allow server, client and credential to be set in different places, such as a profile and a variable
    #[arg(long, help_heading = "Who is asked")]
    pub(crate) danger_allow_mixed_settings: bool,
}

/// How the client proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Authentication {
    /// By the secret in the form.
    Form,
    /// By the secret in a Basic header, form-encoded as RFC 6749 has it.
    Basic,
    /// By the secret in a Basic header, as it is.
    RawBasic,
    /// By an assertion that the private key signs.
    PrivateKeyJwt,
    /// By an assertion that the secret signs.
    ClientSecretJwt,
    /// By the assertion that the platform writes.
    WorkloadIdentity,
    /// By a certificate in TLS, from an authority that the server trusts.
    Tls,
    /// By a certificate in TLS that the server has itself.
    SelfSignedTls,
    /// Not at all.
    None,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Token {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// The variable's name, for `--format env`
    #[arg(long, value_name = "NAME", default_value = VARIABLE)]
    pub(crate) name: String,
    /// Fetch a new token in place of the one that is kept: an API refused it
    #[arg(long, conflicts_with = "no_cache")]
    pub(crate) renew: bool,
    #[command(flatten)]
    pub(crate) client: Client,
}

/// The variable that holds a token where nobody names another.
const VARIABLE: &str = "ACCESS_TOKEN";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The token alone
    Text,
    /// Token, type, expiry and granted scopes
    Json,
    /// An `Authorization` header's line
    Header,
    /// Lines for a shell or an environment file
    Env,
    /// What kubectl's credential plugins print
    ExecCredential,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Exec {
    /// The variable that the command finds the token in
    #[arg(long, value_name = "NAME", default_value = VARIABLE)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) client: Client,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Request {
    /// GET, POST and so on
    pub(crate) method: String,
    /// The address to call
    pub(crate) url: String,
    /// Send this header along; may be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// Send this file as the request body, at most 64 MiB; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// Print status and headers before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Send the token to this origin too, such as `https://api.example`; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Wait so long for each part of the API's answer; the upload of the body has time of its own
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(crate) api_timeout: String,
    #[command(flatten)]
    pub(crate) client: Client,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Inspect {
    /// Nothing: a token on the command line is in the process list and the shell's history.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    pub(crate) refused: Vec<OsString>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Doctor {
    /// Report as JSON
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
    /// Show which tokens are kept, never the tokens
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove them all, or those of the profile that `--profile` names
    Clear,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Option<Shell>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Man {
    /// Write a page for each subcommand to this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

/// The command as clap sees it: for completions and manual pages.
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
