//! `hallpass cache`.

use std::{io, time::SystemTime};

use serde_json::{Value, json};

use super::time::rfc3339;
use crate::{
    args::{CacheAction, Common},
    config,
    failure::Failure,
    out,
    store::{self, EntryFile},
};

pub(crate) fn run(common: &Common, action: &CacheAction) -> Result<(), Failure> {
    let Some(directory) = config::cache_directory()? else {
        return Err(
            Failure::configuration("there is no home directory, and so no token cache")
                .with_remedy("set `HALLPASS_CACHE_DIR` to an absolute path"),
        );
    };
    let in_redis = config::profile_with_redis(common);
    if let Some(profile) = in_redis.as_ref().filter(|_| common.profile.is_some()) {
        return Err(Failure::configuration(format!(
            "the tokens of the profile `{profile}` are in Redis, where they have no readable names"
        ))
        .with_remedy(
            "run `hallpass token --refresh` to replace its token, or delete the names that start with `redis.prefix` in Redis",
        ));
    }
    if let Some(profile) = in_redis {
        out::note(&format!(
            "the tokens of the profile `{profile}` are in Redis; this command manages only the files in {}",
            directory.display()
        ));
    }
    let failed = |error: io::Error| {
        Failure::configuration(format!(
            "the token cache directory {} cannot be used: {error}",
            directory.display()
        ))
    };
    match action {
        CacheAction::List { json } => {
            let all = store::list(&directory).map_err(failed)?;
            let selected = all.iter().filter(|file| is_selected(file, common));
            if *json {
                return out::json(&selected.map(to_json).collect());
            }
            if selected.clone().next().is_none() {
                // Standard output is for programs.
                out::note(&format!("no tokens are cached in {}", directory.display()));
            }
            let now = SystemTime::now();
            out::text(
                &selected
                    .map(|file| format_line(file, now))
                    .collect::<String>(),
            )
        }
        CacheAction::Clear => {
            let removal = store::clear(&directory, |file| is_selected(file, common));
            let removal = removal.map_err(failed)?;
            for path in removal.other_files {
                out::note(&format!(
                    "hallpass: warning: {} is not a cache entry and was not removed",
                    path.display()
                ));
            }
            out::text(&format!("removed {}\n", removal.removed))
        }
    }
}

/// Returns true if the entry belongs to the named profile, or if no profile was named.
fn is_selected(file: &EntryFile, common: &Common) -> bool {
    let Some(profile) = &common.profile else {
        return true;
    };
    file.label
        .as_ref()
        .is_some_and(|label| label.profile == *profile)
}

/// Returns the start of a key. The key is a hash, so a prefix is enough to distinguish entries.
fn short_key(file: &EntryFile) -> &str {
    &file.key[..12]
}

fn format_line(file: &EntryFile, now: SystemTime) -> String {
    let Some((label, expires)) = file.label.as_ref().zip(file.expires) else {
        let problem = if file.is_entry {
            "damaged, or readable by other users"
        } else {
            "not a cache entry"
        };
        return format!("{}  {problem}\n", short_key(file));
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
        short_key(file),
        or_dash(&label.profile),
        label.host,
        or_dash(&label.scope),
    )
}

fn to_json(file: &EntryFile) -> Value {
    let label = file.label.as_ref();
    json!({
        "key": file.key,
        "profile": label.map(|label| &label.profile),
        "host": label.map(|label| &label.host),
        "scope": label.map(|label| &label.scope),
        "expires_at": file.expires.and_then(rfc3339),
    })
}
