use super::*;

#[test]
fn the_location_is_between_host_and_path() {
    for (resource, location) in [
        (
            "https://a.example",
            "https://a.example/.well-known/oauth-protected-resource",
        ),
        (
            "https://a.example/",
            "https://a.example/.well-known/oauth-protected-resource",
        ),
        (
            "https://a.example:8443/mcp/x",
            "https://a.example:8443/.well-known/oauth-protected-resource/mcp/x",
        ),
        (
            "https://a.example/mcp/",
            "https://a.example/.well-known/oauth-protected-resource/mcp/",
        ),
        (
            "https://a.example/mcp?x=y",
            "https://a.example/.well-known/oauth-protected-resource/mcp?x=y",
        ),
        (
            "https://a.example/?x=y",
            "https://a.example/.well-known/oauth-protected-resource?x=y",
        ),
    ] {
        let resource = Url::parse(resource).unwrap();
        assert_eq!(well_known(&resource).as_str(), location);
    }
}

#[test]
fn a_parent_has_whole_segments_of_the_path() {
    let request = "https://a.example/mcp/tools/1?x=y";
    for parent in [
        "https://a.example",
        "https://A.example:443/",
        "https://a.example/mcp",
        "https://a.example/mcp/",
        "https://a.example/mcp/tools/1",
    ] {
        assert!(is_parent(parent, request), "{parent}");
    }
    for other in [
        "https://a.example/mc",
        "https://a.example/mcp/tool",
        "https://a.example/mcp/tools/1/2",
        "https://a.example/mcp?x=y",
        "https://a.example/MCP",
        "https://a.example/other/../secret",
        "https://a.example/other/../mcp",
        "https://a.example/other/%2e%2e/mcp",
        "https://a.example/./mcp",
        "https:/a.example/mcp",
        "https:\\\\a.example\\mcp",
        "https://a.example:8443/mcp",
        "http://a.example/mcp",
        "https://b.example/mcp",
        "https://a.example.evil/mcp",
        "urn:a",
    ] {
        assert!(!is_parent(other, request), "{other}");
    }
}

#[test]
fn lists_and_their_entries_are_checked_when_built() {
    let builder = ResourceDiscovery::builder;
    let full = || {
        builder()
            .allow_resource("https://a.example")
            .allow_issuer("https://l.example")
    };
    full().build().unwrap();
    for (wrong, setting) in [
        (builder(), "allow_resource"),
        (
            builder().allow_issuer("https://l.example"),
            "allow_resource",
        ),
        (
            builder().allow_resource("https://a.example"),
            "allow_issuer",
        ),
        (
            full().allow_resource("https://CANARY.example/path"),
            "allow_resource",
        ),
        (full().allow_resource("https://*.CANARY"), "allow_resource"),
        (full().allow_resource("http://127.0.0.1"), "allow_resource"),
        (
            full()
                .allow_resource("http://a.example")
                .danger_allow_http_on_loopback(),
            "allow_resource",
        ),
        (
            full().allow_issuer("http://l.example/CANARY"),
            "allow_issuer",
        ),
        (
            full().allow_issuer("https://l.example?CANARY"),
            "allow_issuer",
        ),
    ] {
        assert!(!format!("{wrong:?}").contains("CANARY"));
        let error = wrong.build().unwrap_err();
        assert_eq!(error.setting(), setting);
        assert!(!error.to_string().contains("CANARY"), "{error}");
    }
}
