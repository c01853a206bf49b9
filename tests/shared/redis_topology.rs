//! A sentinel, and clusters of Redis servers.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::redis_server::RedisServer;

/// The name by which the sentinel knows the primary.
pub(crate) const SERVICE: &str = "mymaster";
pub(crate) const SENTINEL_USER: &str = "hallpass-sentinel";
pub(crate) const SENTINEL_PASSWORD: &str = "CANARY-sentinel-password";

/// A sentinel, stopped on drop.
pub(crate) struct Sentinel {
    process: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Sentinel {
    /// Starts a sentinel with the user that the documentation describes, and waits until it names the primary.
    pub(crate) fn start(primary: &RedisServer) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let settings = folder.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {SENTINEL_PASSWORD}\ndir {}\n\
             user {SENTINEL_USER} on >{SENTINEL_PASSWORD} -@all +hello +sentinel|get-master-addr-by-name\n\
             sentinel monitor {SERVICE} 127.0.0.1 {} 1\nsentinel auth-pass {SERVICE} {}\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 2000\n",
            folder.path().display(),
            primary.number("port"),
            primary.text("default_password"),
        );
        fs::write(&settings, text).unwrap();
        let process = Command::new("redis-server")
            .arg(settings)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn();
        let sentinel = Self {
            process: process.unwrap(),
            port,
            _folder: folder,
        };
        let port = primary.number("port").to_string();
        let names = |text: &str| text.contains(&port);
        sentinel.wait("GET-MASTER-ADDR-BY-NAME", names);
        sentinel
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until it can promote a replica.
    pub(crate) fn knows_a_replica(&self) {
        self.wait("REPLICAS", |text| text.contains("slave"));
    }

    fn wait(&self, command: &str, is_ready: impl Fn(&str) -> bool) {
        let words = ["SENTINEL", command, SERVICE];
        wait(self.port.into(), SENTINEL_PASSWORD, &words, is_ready);
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts three nodes, and waits until they serve all slots.
pub(crate) fn cluster() -> Option<Vec<RedisServer>> {
    // Nodes talk on further ports, which are drawn with theirs, and may be in use: they never join then.
    for _ in 0..3 {
        let nodes = nodes()?;
        if join(&nodes) {
            return Some(nodes);
        }
    }
    panic!("the nodes did not join");
}

fn nodes() -> Option<Vec<RedisServer>> {
    let arguments = [
        "--",
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1000",
    ];
    let first = RedisServer::start(&arguments)?;
    let mut nodes = vec![first];
    for _ in 0..2 {
        let next = nodes[0].another(&arguments);
        nodes.push(next);
    }
    Some(nodes)
}

/// Returns false if the nodes do not find each other.
fn join(nodes: &[RedisServer]) -> bool {
    let addresses = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.number("port")));
    let password = nodes[0].text("default_password");
    let created = Command::new("timeout")
        .args(["20", "redis-cli", "--cluster", "create"])
        .args(addresses)
        .arg("--cluster-yes")
        .env("REDISCLI_AUTH", password)
        .output();
    if !created.unwrap().status.success() {
        return false;
    }
    for node in nodes {
        let is_ready = |text: &str| text.contains("cluster_state:ok");
        wait(
            node.number("port"),
            password,
            &["CLUSTER", "INFO"],
            is_ready,
        );
    }
    true
}

/// Waits until the reply to a command shows that the server is ready.
fn wait(port: u64, password: &str, words: &[&str], is_ready: impl Fn(&str) -> bool) {
    let mut reply = String::new();
    for _ in 0..400 {
        let run = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(words)
            .env("REDISCLI_AUTH", password)
            .output();
        reply = String::from_utf8_lossy(&run.unwrap().stdout).into_owned();
        if is_ready(&reply) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the server is not ready: {reply}");
}
