//! `hallpass request`.

use hallpass_testkit::{
    AuthorizationServer, Client, leak,
    raw::{self, RawServer},
};

use crate::support::{ID, SECRET, User, default_profile, server, shown, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn an_api_request_carries_the_token() {
    let server = server().await;
    let user = User::of(&server);
    let answer = user
        .run(&format!("request GET {}", server.api_url("/orders")))
        .success();
    assert_eq!(stderr(&answer), "");
    assert!(
        stdout(&answer).contains("\"path\":\"/api/orders\""),
        "{}",
        stdout(&answer)
    );
    let with_head = user.prints(&format!("request -i get {}", server.api_url("/orders")));
    assert!(
        with_head.starts_with("HTTP/1.1 200 OK\n") && with_head.contains("\n\n{"),
        "{with_head}"
    );
    let message = user
        .run(&format!("request -v GET {}", server.api_url("/")))
        .success();
    let is_status = |line: &str| line.starts_with("127.0.0.1:") && line.ends_with(": HTTP 200");
    assert!(
        stderr(&message).lines().any(is_status),
        "{}",
        stderr(&message)
    );
}

// covers: C-35
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_once_for_all_runs() {
    let server = server().await;
    let user = User::of(&server);
    let url = server.api_url("/orders");
    let first = user.prints("token");
    server.revoke_all_tokens();
    user.run(&format!("request POST {url} --body -")).success();
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (2, 2)
    );
    assert_ne!(user.prints("token"), first);
    user.run(&format!("request GET {url}")).success();
    assert_eq!(server.token_request_count(), 2);
}

// covers: C-35
#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_post_is_not_repeated() {
    let server = server().await;
    let api = RawServer::start([
        raw::http(303, &[("location", "/orders")], ""),
        raw::http(401, &[], ""),
    ])
    .await;
    let user = User::of(&server);
    user.run(&format!("request POST {} --body -", api.url("/orders")))
        .code(6);
    let requests = api.requests().into_iter();
    let methods: Vec<_> = requests.map(|request| request[..4].to_vec()).collect();
    assert_eq!(methods, [b"POST", b"GET "]);
}

// covers: C-36
#[tokio::test(flavor = "multi_thread")]
async fn an_api_error_is_exit_code_6_and_names_the_scope() {
    let client = Client::new(ID, SECRET).scopes("orders.read");
    let server = AuthorizationServer::builder()
        .client(client)
        .api_scope("orders.write")
        .start()
        .await;
    let user = User::of(&server);
    let refused = user
        .run(&format!("request GET {}", server.api_url("/orders")))
        .code(6);
    let message = stderr(&refused);
    assert!(
        message.contains("HTTP 403") && message.contains("`orders.write`"),
        "{message}"
    );
    assert_eq!(server.token_request_count(), 1);
    let lost = user.run(&format!(
        "request GET {}",
        server.api_url("").replace("/api", "/nowhere")
    ));
    assert!(stderr(&lost.code(6)).contains("HTTP 404"));
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    user.run(&format!("request GET http://{free}/")).code(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn method_headers_and_body_are_sent_unchanged() {
    let server = server().await;
    let api = RawServer::always(raw::http(
        200,
        &[("content-type", "application/octet-stream")],
        "\u{1}ok",
    ))
    .await;
    let user = User::of(&server);
    std::fs::write(user.path("body"), "a\r\nb").unwrap();
    let mut command = user.hallpass(&format!(
        "request put {} --body body -H X-One:1",
        api.url("/x?y=z")
    ));
    let answer = command
        .args(["--header", "Content-Type: text/csv"])
        .assert()
        .success();
    assert_eq!(stdout(&answer), "\u{1}ok");
    let mut from_input = user.hallpass(&format!("request POST {} -b -", api.url("/x")));
    from_input.write_stdin("from input").assert().success();
    let sent: Vec<String> = api
        .requests()
        .into_iter()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    assert!(
        sent[0].starts_with("PUT /x?y=z HTTP/1.1\r\n") && sent[0].ends_with("\r\n\r\na\r\nb"),
        "{}",
        sent[0]
    );
    assert!(
        sent[0].contains("x-one: 1\r\n") && sent[0].contains("content-type: text/csv\r\n"),
        "{}",
        sent[0]
    );
    assert!(
        sent[0].to_lowercase().contains("authorization: bearer "),
        "{}",
        sent[0]
    );
    assert!(sent[1].ends_with("\r\n\r\nfrom input"), "{}", sent[1]);
}

// covers: C-33, C-37, I-03
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_to_allowed_origins_only() {
    let server = server().await;
    let elsewhere = RawServer::always(raw::http(200, &[], "got it")).await;
    let user = User::of(&server);
    let away = raw::http(302, &[("location", &elsewhere.url("/"))], "");
    let api = RawServer::always(away).await;
    let message = user.run(&format!("request GET {}", api.url("/"))).code(6);
    assert!(
        stderr(&message).contains("redirects to another origin"),
        "{}",
        stderr(&message)
    );
    assert_eq!(elsewhere.requests().len(), 0);

    // Plain HTTP is for loopback only, and only if enabled.
    for (words, code, says) in [
        ("request GET http://api.example/", 3, "plain HTTP"),
        (
            "request GET ftp://api.example/",
            2,
            "must start with `https://`",
        ),
        ("request GET api.example/", 2, "not absolute"),
        ("request GET https://user@api.example/", 2, "user name"),
        (
            "request GET https://api.example/ -H Authorization:x",
            2,
            "set by this command",
        ),
    ] {
        let message = user.run(words).code(code);
        assert!(
            stderr(&message).contains(says),
            "{words}: {}",
            stderr(&message)
        );
    }

    // A profile with allowed origins withholds its tokens from others.
    let origin = server.api_url("").replace("/api", "");
    user.profile(&(default_profile(&server) + &format!("allowed_origins = [\"{origin}\"]\n")));
    user.run(&format!("request GET {}", server.api_url("/orders")))
        .success();
    // Naming one again is harmless.
    let orders = server.api_url("/orders");
    user.run(&format!("request GET {orders} --allow-origin {origin}"))
        .success();
    // Another virtual host at that address is a different API.
    let calls = server.api_call_count();
    let message = user.run(&format!("request GET {orders} -H Host:other.example"));
    let message = stderr(&message.code(3));
    assert!(message.contains("its `Host` header"), "{message}");
    assert_eq!(server.api_call_count(), calls);
    let message = user
        .run(&format!("request GET {}", elsewhere.url("/")))
        .code(3);
    assert!(
        stderr(&message).contains("--allow-origin http://127.0.0.1:"),
        "{}",
        stderr(&message)
    );
    assert_eq!(elsewhere.requests().len(), 0);
    let place = elsewhere.url("");
    let place = place.trim_end_matches('/');
    user.run(&format!("request GET {place}/ --allow-origin {place}"))
        .success();
    // Positive control: the token was sent there.
    let token = user.prints("token");
    let sent = String::from_utf8(elsewhere.requests().remove(0)).unwrap();
    assert!(leak::find(&sent, token.trim_end()).is_some());
    leak::assert_clean(&shown(&message), token.trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_sent() {
    let server = server().await;
    let user = User::of(&server);
    server.rotate_secret(ID, "another");
    user.run(&format!("request GET {}", server.api_url("/orders")))
        .code(4);
    assert_eq!(server.api_call_count(), 0);
}

/// A proxy may be on any host, and requests to loopback may be unencrypted.
#[tokio::test(flavor = "multi_thread")]
async fn requests_to_loopback_bypass_the_proxy() {
    let server = server().await;
    let proxy = RawServer::always(raw::http(502, &[], "")).await;
    for setting in [proxy.url(""), "system".to_owned()] {
        let user = User::new();
        user.profile(&format!(
            "{}proxy = \"{setting}\"\n",
            default_profile(&server)
        ));
        let words = format!("request GET {}", server.api_url("/orders"));
        let mut command = user.hallpass(&words);
        for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
            command.env(variable, proxy.url(""));
        }
        command.assert().success();
    }
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (2, 2)
    );
    assert_eq!(proxy.connection_count(), 0);
}

/// The same rules apply to token requests and API requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_url_with_a_password_is_refused() {
    let server = server().await;
    let user = User::of(&server);
    user.run("token").success();
    user.profile(&format!(
        "{}proxy = \"http://user:CANARY@proxy.example:3128\"\n",
        default_profile(&server)
    ));
    for words in [
        format!("request GET {}", server.api_url("/orders")),
        "token --no-cache".to_owned(),
    ] {
        let message = stderr(&user.run(&words).code(3));
        assert!(message.contains("hallpass: proxy: "), "{message}");
        assert!(
            message.contains("contains a user name or password"),
            "{message}"
        );
        assert!(!message.contains("CANARY"), "{message}");
        assert!(!message.contains("proxy_credentials"), "{message}");
    }
    assert_eq!(server.api_call_count(), 0);
}

/// A body is held in memory, so that the request can be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_limit_and_is_a_file_or_a_pipe() {
    const LIMIT: u64 = 64 << 20;
    let server = server().await;
    let user = User::of(&server);
    let request = |body: &str| format!("request POST {} --body {body}", server.api_url("/orders"));
    let long = std::fs::File::create(user.path("long")).unwrap();
    long.set_len(LIMIT + 1).unwrap();
    let message = stderr(&user.run(&request("long")).code(2));
    assert!(message.contains("longer than 67108864 bytes"), "{message}");
    let mut piped = user.hallpass(&request("-"));
    piped.pipe_stdin(user.path("long")).unwrap();
    let message = stderr(&piped.assert().code(2));
    assert!(message.contains("longer than 64 MiB"), "{message}");
    #[cfg(unix)]
    for device in ["/dev/zero", "."] {
        let message = stderr(&user.run(&request(device)).code(2));
        assert!(
            message.contains("is not a regular file") && message.contains("`--body -`"),
            "{message}"
        );
    }
    assert_eq!(server.api_call_count(), 0);
    assert!(user.prints("request --help").contains("at most 64 MiB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_may_be_named_twice() {
    let server = server().await;
    let user = User::of(&server);
    let url = server.api_url("/orders");
    let origin = server.api_url("").replace("/api", "");
    let twice = format!("request GET {url} --allow-origin {origin} --allow-origin {origin}/");
    user.run(&twice).success();
    user.profile(&(default_profile(&server) + &format!("allowed_origins = [\"{origin}\"]\n")));
    user.run(&twice).success();
    // An invalid origin is still refused.
    let path = user.run(&format!("request GET {url} --allow-origin {origin}/x"));
    path.code(3);
}

/// A slow upload does not count as a slow response.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_not_part_of_the_api_timeout() {
    const LENGTH: usize = 2 << 20;
    let server = server().await;
    let user = User::of(&server);
    user.prints("token");
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", api.local_addr().unwrap());
    std::fs::write(user.path("body"), vec![b'x'; LENGTH]).unwrap();
    let slow_reader = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let (mut connection, _) = api.accept().await.unwrap();
        let mut bytes = vec![0; 64 << 10];
        let mut read = 0;
        while read < LENGTH {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            read += connection.read(&mut bytes).await.unwrap();
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        connection.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(connection.read(&mut bytes).await.unwrap(), 0);
    });
    let put = format!("request PUT {url} --body body --api-timeout 200ms");
    assert_eq!(user.prints(&put), "ok");
    slow_reader.await.unwrap();

    for answer in [
        raw::Reply::nothing().then_stall(),
        raw::Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart").then_stall(),
    ] {
        let api = RawServer::always(answer).await;
        let get = format!("request GET {} --api-timeout 200ms", api.url("/"));
        let message = stderr(&user.run(&get).code(5));
        assert!(message.contains("did not respond in time"), "{message}");
    }
}
