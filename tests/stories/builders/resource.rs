//! The settings of a client for the metadata of protected resources.

use hallpass::{
    TokenError,
    endpoint::{ProtectedResource, ResourceDiscovery, ResourceDiscoveryBuilder},
};
use hallpass_testkit::leak;
use http::HeaderMap;
use serde_json::json;

use super::{
    call_setup::{Origin, ServerUrls},
    pairs::{PairCounts, Setting, SettingSelection, check},
    run::World,
    server::Answer,
};

const ISSUER: &str = "https://login.example";
const OTHER_ISSUER: &str = "https://other.example";
const OTHER_RESOURCE: &str = "https://other.example";

/// The observations of a client.
struct Observations {
    user_agent: String,
    is_over_tls: bool,
    other_resource: String,
    is_other_issuer_used: bool,
    is_parent_accepted: bool,
}

fn rows() -> Vec<Setting<ResourceDiscoveryBuilder, World, Observations>> {
    let row = Setting::<ResourceDiscoveryBuilder, World, Observations>::new;
    vec![
        row(
            "accept_parent_resource",
            |one, _| one.accept_parent_resource(),
            |seen| seen.is_parent_accepted,
        ),
        row(
            "allow_issuer",
            |one, _| one.allow_issuer(OTHER_ISSUER),
            |seen| seen.is_other_issuer_used,
        ),
        row(
            "allow_resource",
            |one, _| one.allow_resource(OTHER_RESOURCE),
            |seen| !seen.other_resource.contains("is not allowed"),
        ),
        row(
            "danger_allow_http_on_loopback",
            |one, _| one.danger_allow_http_on_loopback(),
            |seen| !seen.is_over_tls,
        ),
        row(
            "transport",
            |one, world| one.transport(world.other_transport.clone()),
            |seen| seen.user_agent == "other/1.0",
        ),
    ]
}

#[tokio::test]
async fn every_two_settings_of_resource_discovery_work() {
    let rows = rows();
    let world = World::new().await;
    let runs = std::cell::Cell::new(0);
    let run = async |selection: &SettingSelection<'_, _, _, _>| {
        // A resource of its own, one of another issuer, and one above its requests.
        let is_plain = selection.has("danger_allow_http_on_loopback");
        let origin = if is_plain {
            Origin::Plain
        } else {
            Origin::Named
        };
        let [own, foreign, parent] =
            [1, 2, 3].map(|next| ServerUrls::new(&world, runs.get() + next, origin));
        runs.set(parent.path_prefix);
        for (urls, issuer) in [(own, ISSUER), (foreign, OTHER_ISSUER), (parent, ISSUER)] {
            let metadata = json!({ "resource": urls.issuer(), "authorization_servers": [issuer] });
            let answer = Answer {
                body: Some(metadata.to_string()),
                ..Answer::default()
            };
            world.server.set_answer(urls.path_prefix, answer);
        }
        let builder = ResourceDiscovery::builder()
            .allow_resource(&own.origin(origin))
            .allow_issuer(ISSUER)
            .transport(world.transport.clone());
        let client = selection.set(builder, &world).build();
        let client = client.map_err(|error| leak::error_chain(&error))?;
        client.discover(&own.issuer()).await.unwrap();
        let request = world.server.requests(own.path_prefix).remove(0);
        let foreign = client.discover(&foreign.issuer()).await;
        let other = client.discover(&format!("{OTHER_RESOURCE}/x")).await;
        let mut headers = HeaderMap::new();
        let location = ".well-known/oauth-protected-resource";
        let metadata = format!(
            "{}/{location}/{}",
            parent.origin(origin),
            parent.path_prefix
        );
        let challenge = format!(r#"Bearer resource_metadata="{metadata}""#);
        headers.insert("www-authenticate", challenge.parse().unwrap());
        let parent = client.discover_from(&parent.url("tools"), &headers).await;
        let is_of = |found: &Result<ProtectedResource, TokenError>, issuer| {
            found.as_ref().is_ok_and(|found| found.issuer() == issuer)
        };
        Ok(Observations {
            user_agent: request.header("user-agent").unwrap_or_default().to_owned(),
            is_over_tls: request.connection.is_tls,
            other_resource: other.unwrap_err().to_string(),
            is_other_issuer_used: is_of(&foreign, OTHER_ISSUER),
            is_parent_accepted: is_of(&parent, ISSUER),
        })
    };
    assert_eq!(
        check(("endpoint", "ResourceDiscoveryBuilder"), &rows, &[], run).await,
        PairCounts {
            built: 25,
            refused: 0
        }
    );
}
