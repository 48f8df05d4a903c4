//! Talks to a local API over its UNIX socket.

use crate::exit::Failed;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// A local API.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Lines as they arrive.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// Through this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Whether anybody answers.
    pub async fn answers(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    async fn request(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Failed> {
        let gone = |e: &dyn std::fmt::Display| Failed::new("E2004", format!("the node does not answer: {e}"));
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| gone(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| gone(&e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Failed::new("E2006", e.to_string()))?;
        sender.send_request(request).await.map_err(|e| gone(&e))
    }

    /// A request with one JSON answer.
    pub async fn json(&self, method: &str, path: &str, body: Option<&Json>) -> Result<Json, Failed> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let response = self.request(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| Failed::new("E2004", e.to_string()))?.to_bytes();
        let answer: Json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
        if status.is_success() { Ok(answer) } else { Err(refused(status, answer)) }
    }

    /// A request whose answer is lines.
    pub async fn lines(&self, path: &str) -> Result<Lines, Failed> {
        let response = self.request("GET", path, Vec::new()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Lines { body: response.into_body(), buffer: Vec::new() });
        }
        let bytes = response.into_body().collect().await.map_err(|e| Failed::new("E2004", e.to_string()))?.to_bytes();
        Err(refused(status, serde_json::from_slice(&bytes).unwrap_or(Json::Null)))
    }
}

fn refused(status: StatusCode, answer: Json) -> Failed {
    if answer.get("message").is_some() {
        return Failed::from_line(answer);
    }
    Failed::new("E2006", format!("the node answered {status}"))
}

impl Lines {
    /// The next line; `None` at the end. A connection that breaks off is an error.
    pub async fn next(&mut self) -> Result<Option<Json>, Failed> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if let Ok(json) = serde_json::from_slice(&line) {
                    return Ok(Some(json));
                }
                continue;
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Failed::new("E2004", format!("the node stopped answering: {error}"))),
            }
        }
    }
}
