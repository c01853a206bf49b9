//! A server on a thread of its own, which can stand still between any two parts of a response.

use std::{
    io,
    sync::{Arc, Mutex},
};

use hallpass_testkit::Breakpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

/// A request: its path, its head and its body.
pub(super) struct Received {
    pub(super) path: String,
    pub(super) head: String,
    pub(super) body: String,
}

/// A response: status, further headers as text, and a body; in JSON, unless there is a header `content-type`.
pub(super) type Response = (u16, String, String);

type Answer = dyn Fn(&Received, usize) -> Response + Send + Sync;

/// The requests that arrived.
#[derive(Clone, Default)]
pub(super) struct Log {
    /// The first letters of their paths, in order.
    pub(super) letters: String,
    /// True if the last response is not complete.
    pub(super) is_answering: bool,
}

pub(super) struct Server {
    pub(super) url: String,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    answer: Box<Answer>,
    log: Arc<Mutex<Log>>,
    breakpoint: Breakpoint,
}

impl Server {
    /// Starts a server with this function, which gets a request and the number of those before it at its path.
    pub(super) fn start(
        breakpoint: &Breakpoint,
        answer: impl Fn(&str, &Received, usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = url.clone();
        let state = Arc::new(State {
            answer: Box::new(move |received, before| answer(&own, received, before)),
            log: Arc::default(),
            breakpoint: breakpoint.clone(),
        });
        let serving = state.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = serving.clone();
                tokio::spawn(async move {
                    // An error is the end of the connection.
                    let _ = serve(stream, &state).await;
                });
            }
        });
        Self {
            url,
            state,
            _runtime: runtime,
        }
    }

    pub(super) fn log(&self) -> Log {
        self.state.log.lock().unwrap().clone()
    }

    /// Returns a function that returns the requests, also once the server has ended.
    pub(super) fn logger(&self) -> Arc<dyn Fn() -> Log + Send + Sync> {
        let log = self.state.log.clone();
        Arc::new(move || log.lock().unwrap().clone())
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Some(received) = read(&mut stream, &mut unread).await? {
        let before = {
            let mut log = state.log.lock().unwrap();
            let letter = received.path.chars().nth(1).unwrap();
            let before = log.letters.matches(letter).count();
            log.letters.push(letter);
            log.is_answering = true;
            before
        };
        let point = || state.breakpoint.wrap(std::future::ready(()));
        point().await;
        let (status, headers, body) = (state.answer)(&received, before);
        let length = body.len();
        let kind = if headers.contains("content-type: ") {
            ""
        } else {
            "content-type: application/json\r\n"
        };
        let response = format!(
            "HTTP/1.1 {status} Status\r\n{kind}content-length: {length}\r\n{headers}\r\n{body}"
        );
        let (first, rest) = response.split_at(response.len() - length / 2);
        stream.write_all(first.as_bytes()).await?;
        let complete = async { state.log.lock().unwrap().is_answering = false };
        state.breakpoint.wrap(complete).await;
        stream.write_all(rest.as_bytes()).await?;
        point().await;
    }
    Ok(())
}

async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<Received>> {
    loop {
        let text = String::from_utf8_lossy(unread).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if rest.len() >= length {
                let body = rest[..length].to_owned();
                unread.drain(..head.len() + 4 + length);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                return Ok(Some(Received { path, head, body }));
            }
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}
