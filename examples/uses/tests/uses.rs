//! Runs each program as a process, against an authorization server and an API on this machine.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use hallpass_testkit::{AuthMethod, AuthorizationServer, Client, faults, leak};

use support::{ID, Ran, SECRET, Trial, server};

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

/// Checks the exit code and the message, and that the output does not contain the secret.
fn failed(ran: &Ran, code: i32, why: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.all().contains(why), "{ran:?}");
}

// covers: C-62
#[tokio::test]
async fn the_pipeline_reads_a_thousand_records_with_one_token() {
    let server = server("records.read").await;
    let ran = Trial::new("data-pipeline", &server).run().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("1000 records read, "), "{ran:?}");
    assert!(ran.stdout.ends_with(" bytes, 0 failed\n"), "{ran:?}");
    // No progress bar is drawn into a pipe.
    assert_eq!(ran.stderr, "");
    assert_eq!(server.token_request_count(), 1);
    assert_eq!(server.api_call_count(), 1_000);
}

#[tokio::test]
async fn the_pipeline_stops_where_no_token_can_be_had() {
    let server = server("records.read").await;
    let ran = Trial::new("data-pipeline", &server)
        .secret("wrong")
        .run()
        .await;
    failed(&ran, 1, "invalid_client");
    // A refusal is remembered, regardless of the number of records.
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (1, 0)
    );
}

#[tokio::test]
async fn the_job_says_by_its_code_whether_to_run_it_again() {
    let server = server("reports.write").await;
    let job = || Trial::new("scheduled-job", &server);
    let ran = job().run().await;
    assert_eq!((ran.code, server.api_call_count()), (Some(0), 1), "{ran:?}");
    assert!(ran.stdout.starts_with("report "), "{ran:?}");
    failed(&job().secret("wrong").run().await, 77, "invalid_client");
    failed(
        &job().without("API_ORIGIN").run().await,
        78,
        "API_ORIGIN: the variable is not set",
    );
    let literal = job()
        .set("CAMALL_CLIENT_SECRET", "s3cr3t-in-the-open")
        .run()
        .await;
    failed(
        &literal,
        78,
        "CAMALL_CLIENT_SECRET: this is not a secret reference",
    );
    leak::assert_clean(&literal.all(), "s3cr3t-in-the-open");
    server.start_outage(faults::named("invalid_scope").unwrap());
    failed(&job().run().await, 77, "invalid_scope");
    server.start_outage(faults::named("status_503").unwrap());
    failed(&job().run().await, 75, "503");
    assert_eq!(server.api_call_count(), 1);
}

fn scopes_asked_for(server: &AuthorizationServer) -> Vec<String> {
    let requests = server.token_requests();
    let scopes = requests
        .iter()
        .map(|asked| asked.parameter("scope").unwrap());
    scopes.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_integration_has_a_token_for_each_system() {
    let server = server("customers.read ledger.write").await;
    // A different host name is a different origin.
    let erp = support::origin(&server).replace("127.0.0.1", "localhost");
    let ran = Trial::new("system-integration", &server)
        .set("CRM_ORIGIN", &support::origin(&server))
        .set("ERP_ORIGIN", &erp)
        .run()
        .await;
    assert_eq!(ran.stdout, "3 customers handed over\n", "{ran:?}");
    assert_eq!(
        scopes_asked_for(&server),
        ["customers.read", "ledger.write"]
    );
    assert_eq!(server.api_call_count(), 6);
}

#[tokio::test]
async fn the_integration_stops_where_a_system_takes_no_token() {
    let crm = server("customers.read ledger.write").await;
    let erp = server("").await; // knows no token but its own
    let ran = Trial::new("system-integration", &crm)
        .set("CRM_ORIGIN", &support::origin(&crm))
        .set("ERP_ORIGIN", &support::origin(&erp))
        .run()
        .await;
    failed(&ran, 1, "invalid_token");
    // Refused, and refused again with a new token.
    assert_eq!((crm.api_call_count(), erp.api_call_count()), (1, 2));
    assert_eq!(
        scopes_asked_for(&crm),
        ["customers.read", "ledger.write", "ledger.write"]
    );
}

#[tokio::test]
async fn the_tool_prints_orders_and_its_exit_codes_name_the_fault() {
    let server = server("orders.read").await;
    let tool = |arguments: &[&str]| Trial::new("command-line-tool", &server).arguments(arguments);
    let ran = tool(&["orders", "7", "8"]).run().await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let orders: Vec<_> = ran.stdout.lines().map(json).collect();
    assert_eq!(orders.len(), 2);
    assert_eq!(orders[1]["path"], "/api/orders/8");
    assert_eq!(server.token_request_count(), 1);

    // The valid one is still printed.
    let ran = tool(&["orders", "x\u{1b}[2J", "9"]).run().await;
    failed(&ran, 1, r"`x\u{1b}[2J` is no number");
    assert_eq!(json(&ran.stdout)["path"], "/api/orders/9");
    failed(&tool(&[]).run().await, 2, "usage: ");
    failed(
        &tool(&["orders", "7"])
            .without("CAMALL_CLIENT_ID")
            .run()
            .await,
        2,
        "CAMALL_CLIENT_ID",
    );
    let ran = tool(&["orders", "7", "8"]).secret("wrong").run().await;
    failed(&ran, 3, "invalid_client");
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.matches("error: ").count()),
        ("", 1),
        "{ran:?}"
    );

    let strict = AuthorizationServer::builder()
        .client(Client::new(ID, SECRET).scopes("orders.read"))
        .api_scope("orders.all")
        .start()
        .await;
    let ran = Trial::new("command-line-tool", &strict)
        .arguments(&["orders", "7"])
        .run()
        .await;
    failed(&ran, 4, "it requires the scopes `orders.all`");
}

/// Prepares the MCP client for a server whose endpoint is a part of the API.
fn mcp_client(server: &AuthorizationServer) -> Trial {
    Trial::new("mcp-client", server)
        .set("MCP_SERVER", &server.api_url("/mcp"))
        .set("MCP_ISSUER", &server.issuer())
        .set("CLIENT_ID", ID)
}

// covers: C-61
#[tokio::test]
async fn the_mcp_client_goes_from_a_401_to_a_token() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let client = Client::new(ID, SECRET).assertions(|assertion, _| assertion.contains('.'));
    let server = AuthorizationServer::builder().client(client).start().await;
    let with_secret = mcp_client(&server).with_secret("CLIENT_SECRET");
    let with_key = mcp_client(&server).with_secret("PRIVATE_KEY").secret(&key);
    for (client, method) in [
        (with_secret, AuthMethod::Basic),
        (with_key, AuthMethod::Assertion),
    ] {
        let ran = client.run().await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(json(&ran.stdout)["path"], "/api/mcp", "{ran:?}");
        let requests = server.token_requests();
        let last = requests.last().unwrap();
        assert_eq!(last.method, Some(method));
        let resource = server.api_url("");
        assert_eq!(last.parameter("resource"), Some(&*resource));
    }
    // Each run called without a token, and then with it.
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (2, 4)
    );
}

#[tokio::test]
async fn the_mcp_client_uses_no_other_issuer() {
    let server = server("").await;
    let client = mcp_client(&server).with_secret("CLIENT_SECRET");
    let ran = client
        .set("MCP_ISSUER", "https://login.example")
        .run()
        .await;
    failed(
        &ran,
        1,
        "none of the resource's authorization servers is allowed",
    );
    assert_eq!(server.token_request_count(), 0);
}

#[tokio::test]
async fn the_monitor_distinguishes_tokens_from_the_api() {
    let server = server("status.read").await;
    let monitor = || {
        Trial::new("monitor", &server)
            .set("CHECKS", "3")
            .set("INTERVAL_MS", "1")
    };
    let ran = monitor().run().await;
    assert_eq!(
        (ran.code, ran.stdout.lines().count()),
        (Some(0), 3),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .lines()
            .all(|line| line.starts_with("up token_ms=")),
        "{ran:?}"
    );
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (1, 3)
    );

    let ran = monitor().secret("wrong").run().await;
    failed(&ran, 3, "kind=CredentialsRefused transient=false");
    assert!(
        ran.stdout
            .lines()
            .all(|line| line.starts_with("down: token token_ms=")),
        "{ran:?}"
    );

    // Tokens of another server: they can be obtained, but the API refuses them.
    let other = support::server("status.read").await;
    let ran = monitor()
        .set("CAMALL_TOKEN_ENDPOINT", &other.token_endpoint())
        .set("CHECKS", "1")
        .run()
        .await;
    failed(&ran, 1, "down: api ");
    let away = monitor()
        .set("API_ORIGIN", "http://127.0.0.1:9")
        .set("CHECKS", "1")
        .run()
        .await;
    failed(&away, 1, "down: api ");
}

#[cfg(unix)]
#[tokio::test]
async fn the_service_answers_what_is_under_way_before_it_ends() {
    use std::time::Duration;

    let server = server("orders.read").await;
    let service = Trial::new("backend-service", &server)
        .set("LISTEN", "127.0.0.1:0")
        .start()
        .await;
    let (status, body) = service.get("/orders/7").await;
    assert_eq!(
        (status, &json(&body)["path"]),
        (200, &"/api/orders/7".into())
    );
    assert_eq!(service.get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(service.get("/orders/seven").await.0, 400);
    assert_eq!(server.token_request_count(), 1);

    // The next request finds its token refused and waits for a new one.
    server.revoke_all_tokens();
    server.set_latency(Duration::from_millis(500));
    let asked = service.get("/orders/8");
    let ended = async {
        while server.token_request_count() < 2 {
            tokio::task::yield_now().await;
        }
        service.terminate().await;
    };
    let ((status, body), ()) = tokio::join!(asked, ended);
    assert_eq!(
        (status, &json(&body)["path"]),
        (200, &"/api/orders/8".into())
    );
    let ran = service.wait().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_service_shows_customers_no_internals() {
    let server = server("orders.read").await;
    let wrong = Trial::new("backend-service", &server)
        .secret("wrong")
        .run()
        .await;
    failed(&wrong, 1, "invalid_client");

    let service = Trial::new("backend-service", &server)
        .set("LISTEN", "127.0.0.1:0")
        .start()
        .await;
    server.revoke_all_tokens();
    server.start_outage(faults::named("status_503").unwrap());
    assert_eq!(
        service.get("/orders/7").await,
        (503, "try again later\n".to_owned())
    );
    assert_eq!(service.get("/readyz").await, (503, "no token\n".to_owned()));
    service.terminate().await;
    assert_eq!(service.wait().await.code, Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_rolling_restart_loses_no_request() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let server = server("orders.read").await;
    let instance = || {
        Trial::new("backend-service", &server)
            .set("LISTEN", "127.0.0.1:0")
            .set("DRAIN_SECONDS", "1")
            .start()
    };
    let (old, new) = tokio::join!(instance(), instance());
    let served_by_old = AtomicUsize::new(0);
    // Four clients of a load balancer, which probes before each request, until the new instance has served them.
    let client = async || {
        let mut served_by_new = 0;
        while served_by_new < 10 {
            let ready = if old.is_ready().await { &old } else { &new };
            // Each request is a connection of its own.
            assert_eq!(ready.get("/orders/7").await.0, 200);
            if std::ptr::eq(ready, &raw const new) {
                served_by_new += 1;
            } else {
                served_by_old.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let ended = async {
        while served_by_old.load(Ordering::SeqCst) < 10 {
            tokio::task::yield_now().await;
        }
        old.terminate().await;
    };
    tokio::join!(client(), client(), client(), client(), ended);
    let ran = old.wait().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(server.token_request_count(), 2);
    new.terminate().await;
    assert_eq!(new.wait().await.code, Some(0));
}
