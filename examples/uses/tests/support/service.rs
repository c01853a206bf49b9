//! A service as a process that is called and then stopped.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{Ran, SecretFile, Trial};

impl Trial {
    /// Starts a service, and waits until it listens.
    pub(crate) async fn start(mut self) -> Running {
        let mut process = self.command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("a line");
        let address = line.strip_prefix("listening on ").unwrap();
        let address = format!("http://{address}");
        Running {
            process,
            address,
            _secret: self.secret,
        }
    }
}

/// A running service.
pub(crate) struct Running {
    process: Child,
    address: String,
    _secret: SecretFile,
}

impl Running {
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.address))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Returns true if the service passes its readiness probe.
    pub(crate) async fn is_ready(&self) -> bool {
        let probe = reqwest::get(format!("{}/readyz", self.address)).await;
        probe.is_ok_and(|answer| answer.status() == 200)
    }

    /// Requests the service to stop.
    pub(crate) async fn terminate(&self) {
        let id = self.process.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.unwrap().success());
    }

    pub(crate) async fn wait(mut self) -> Ran {
        let mut said = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut said).await.unwrap();
        let status = self.process.wait().await.unwrap();
        Ran::new(status.code(), String::new(), said)
    }
}
