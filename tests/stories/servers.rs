//! One list of stories against several authorization servers that share no code with ours, nor with each other.
//!
//! A server's description names the stories that it cannot run, and the error or response that shows it. All others
//! must hold. docs/servers.md has the same table.

mod description;
mod grants;
mod list;
mod methods;
mod requests;
mod running;
mod tokens;

use std::{fs, sync::Arc};

use description::{DESCRIPTIONS, Description};
use list::STORIES;
use running::Running;
use serde_json::Value;

async fn run(description: &'static Description) {
    let Some(running) = Running::start(description).await else {
        return;
    };
    let running = Arc::new(running);
    let mut failures = Vec::new();
    for story in STORIES {
        // A task of its own, so that the stories after one that panics run too.
        let ran = tokio::spawn((story.run)(running.clone())).await;
        let expected = description.difference(story.name);
        match (ran, expected) {
            (Err(panic), _) => failures.push(format!("{}: panicked: {panic}", story.name)),
            (Ok(Ok(())), None) => {}
            (Ok(Err(seen)), Some(difference)) if seen.0.contains(difference.seen) => {}
            (Ok(Ok(())), Some(_)) => failures.push(format!("{}: holds now", story.name)),
            (Ok(Err(seen)), _) => failures.push(format!("{}: {}", story.name, seen.0)),
        }
    }
    running.stop().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn oidc_provider_runs_the_list() {
    run(&description::OIDC_PROVIDER).await;
}

#[tokio::test]
async fn glewlwyd_runs_the_list() {
    run(&description::GLEWLWYD).await;
}

#[tokio::test]
async fn authlib_runs_the_list() {
    run(&description::AUTHLIB).await;
}

#[tokio::test]
async fn idpyoidc_runs_the_list() {
    run(&description::IDPYOIDC).await;
}

#[test]
fn a_description_names_stories_of_the_list() {
    for description in DESCRIPTIONS {
        for difference in description.differences {
            let mut listed = STORIES
                .iter()
                .filter(|story| story.name == difference.story);
            assert!(listed.next().is_some(), "{}", difference.story);
            assert!(!difference.seen.is_empty() && !difference.reason.is_empty());
        }
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_page_of_servers_has_the_descriptions() {
    let page = file("docs/servers.md");
    let table = description::table();
    assert!(
        page.contains(&table),
        "docs/servers.md must contain:\n{table}"
    );
}

#[test]
fn the_page_of_servers_has_the_locked_versions() {
    let page = file("docs/servers.md");
    let package = file("tests/peers/oidc-provider/package.json");
    let package: Value = serde_json::from_str(&package).unwrap();
    let version = package["dependencies"]["oidc-provider"].as_str().unwrap();
    assert!(page.contains(&format!("| {version} | JavaScript |")));
    let packages = file("tests/peers/requirements.in");
    for name in ["authlib", "idpyoidc"] {
        let named = |line: &'_ str| {
            line.strip_prefix(name)?
                .strip_prefix("==")
                .map(str::to_owned)
        };
        let version = packages.lines().find_map(named).unwrap();
        assert!(page.contains(&format!("| {version}, with Flask | Python |")));
    }
}
