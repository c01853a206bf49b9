//! `hallpass cache`.

use std::{
    io::{self, Write as _},
    time::SystemTime,
};

use serde_json::{Value, json};

use super::token::timestamp;
use crate::{
    args::{CacheAction, Common},
    config,
    failure::{Exit, Failure},
    out,
    store::{self, Kept},
};

pub(crate) fn run(common: &Common, action: &CacheAction) -> Result<(), Failure> {
    let Some(folder) = config::cache_folder() else {
        return Err(Failure::configuration(
            "without a home folder no tokens are kept; name a folder with HALLPASS_CACHE_DIR",
        ));
    };
    let failed = |error: io::Error| {
        Failure::new(
            Exit::Configuration,
            format!(
                "the folder of kept tokens, {}, cannot be used: {error}",
                folder.display()
            ),
        )
    };
    match action {
        CacheAction::List { json } => {
            let all = store::list(&folder).map_err(failed)?;
            let ours = all.iter().filter(|kept| is_of(kept, common));
            if *json {
                return out::json(&ours.map(described).collect());
            }
            if ours.clone().next().is_none() {
                // Standard output is for programs. If standard error is closed, there is nowhere left to report to.
                let _ = writeln!(io::stderr(), "no tokens are cached in {}", folder.display());
            }
            let now = SystemTime::now();
            out::text(&ours.map(|kept| line(kept, now)).collect::<String>())
        }
        CacheAction::Clear => {
            let removed = store::clear(&folder, |kept| is_of(kept, common)).map_err(failed)?;
            out::text(&format!("removed {removed}\n"))
        }
    }
}

/// Returns true if the entry belongs to the named profile, or if no profile was named.
fn is_of(kept: &Kept, common: &Common) -> bool {
    let Some(profile) = &common.profile else {
        return true;
    };
    kept.label
        .as_ref()
        .is_some_and(|label| label.profile == *profile)
}

/// Returns the start of a key. The key is a hash, so a prefix is enough to tell entries apart.
fn short(kept: &Kept) -> &str {
    &kept.key[..12]
}

fn line(kept: &Kept, now: SystemTime) -> String {
    let Some((label, expires)) = kept.label.as_ref().zip(kept.expires) else {
        return format!("{}  not readable\n", short(kept));
    };
    let left = expires.duration_since(now).unwrap_or_default();
    let left = if left.is_zero() {
        "expired".to_owned()
    } else {
        let whole = std::time::Duration::from_secs(left.as_secs());
        format!("expires in {}", humantime::format_duration(whole))
    };
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    format!(
        "{}  {}  {}  {left}  {}\n",
        short(kept),
        or_dash(&label.profile),
        label.host,
        or_dash(&label.scope),
    )
}

fn described(kept: &Kept) -> Value {
    let label = kept.label.as_ref();
    json!({
        "key": kept.key,
        "profile": label.map(|label| &label.profile),
        "host": label.map(|label| &label.host),
        "scope": label.map(|label| &label.scope),
        "expires_at": kept.expires.map(timestamp),
    })
}
