//! The local API's doors: who may come in.
//!
//! A UNIX socket admits processes of the same user (and root), by the kernel's word for who
//! connects. A loopback port admits whoever shows the token from a file that only the owner can
//! read, under a `Host` that is loopback and without a foreign `Origin`, so that no page in a
//! browser gets in, whatever name it gives this machine (DNS rebinding).
//!
//! Not here: routes. The shells bring their router.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate_seams::{Entropy, entropy, files};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// A UNIX socket that admits its own user alone. The file goes with it.
pub struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixDoor {
    /// Opens the door. A file left there by a process that died is replaced; the caller holds the
    /// folder's lock, so nobody else lives behind it.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves `router` until the future is dropped.
    pub async fn serve(self, router: Router) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        let _file = RemovedWithDoor(self.path);
        axum::serve(SameUser { listener: self.listener, own }, router).await
    }
}

struct RemovedWithDoor(PathBuf);

impl Drop for RemovedWithDoor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct SameUser {
    listener: UnixListener,
    own: u32,
}

impl axum::serve::Listener for SameUser {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(who) = stream.peer_cred()
                && (who.uid() == self.own || who.uid() == 0)
            {
                return (stream, address);
            }
            tokio::task::yield_now().await;
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A loopback port that admits whoever shows the token.
pub struct TokenDoor {
    listener: TcpListener,
    token: Arc<str>,
}

impl TokenDoor {
    /// Opens the door on 127.0.0.1 and writes a fresh token to `token_file`.
    pub async fn open(port: u16, token_file: &Path, source: &dyn Entropy) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let bytes: [u8; 32] = entropy::bytes(source);
        let token = blake3::Hash::from_bytes(bytes).to_hex().to_string();
        files::replace(token_file, token.as_bytes())?;
        Ok(Self { listener, token: token.into() })
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `router` until the future is dropped.
    pub async fn serve(self, router: Router) -> io::Result<()> {
        let guard = Arc::new(Guard { token: self.token, port: self.listener.local_addr()?.port() });
        let router = router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let guard = Arc::clone(&guard);
            async move { guard.pass(request, next).await }
        }));
        axum::serve(self.listener, router).await
    }
}

struct Guard {
    token: Arc<str>,
    port: u16,
}

impl Guard {
    async fn pass(&self, request: Request, next: Next) -> Response {
        match self.judge(request.headers()) {
            Ok(()) => next.run(request).await,
            Err((status, why)) => (status, why).into_response(),
        }
    }

    fn judge(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let ours = |authority: &str| {
            ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| authority == format!("{name}:{}", self.port))
        };
        if !text(header::HOST).is_some_and(ours) {
            return Err((StatusCode::FORBIDDEN, "this address is for programs on this machine alone\n"));
        }
        if headers.contains_key(header::ORIGIN)
            && !text(header::ORIGIN).and_then(|origin| origin.strip_prefix("http://")).is_some_and(ours)
        {
            return Err((StatusCode::FORBIDDEN, "pages from elsewhere may not use this address\n"));
        }
        let shown = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Hashes are compared, so that the time taken tells nothing of the token.
        if blake3::hash(shown.as_bytes()) != blake3::hash(self.token.as_bytes()) {
            return Err((StatusCode::UNAUTHORIZED, "show the token from the token file as `Authorization: Bearer`\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_names_the_own_origin_and_the_token_pass() {
        let guard = Guard { token: "t0k".into(), port: 99 };
        let check = |host: &str, origin: Option<&str>, token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            guard.judge(&headers).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(check("127.0.0.1:99", None, "t0k"), Ok(()));
        assert_eq!(check("localhost:99", Some("http://localhost:99"), "t0k"), Ok(()));
        assert_eq!(check("evil.example:99", None, "t0k"), Err(403));
        assert_eq!(check("127.0.0.1:98", None, "t0k"), Err(403));
        assert_eq!(check("127.0.0.1:99", Some("https://evil.example"), "t0k"), Err(403));
        assert_eq!(check("127.0.0.1:99", Some("null"), "t0k"), Err(403));
        assert_eq!(check("127.0.0.1:99", None, "other"), Err(401));
        assert_eq!(guard.judge(&HeaderMap::new()).map_err(|(status, _)| status.as_u16()), Err(403));
    }
}
