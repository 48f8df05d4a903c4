//! The floor under the session's benchmark: a bare tonic unary echo over mutual TLS.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// tonic as it comes, with one unary method.
pub struct Bare(tonic::client::Grpc<Channel>);

impl Bare {
    pub async fn connect(root: Certificate, hub: Identity, node: Identity) -> Fallible<Self> {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}", socket.local_addr()?.port());
        let tls = ServerTlsConfig::new().identity(hub).client_ca_root(root.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(socket).with_nodelay(Some(true));
        let server = Server::builder().tls_config(tls)?.add_service(Echo).serve_with_incoming(incoming);
        tokio::spawn(server);
        let tls = ClientTlsConfig::new().ca_certificate(root).identity(node);
        let channel = Channel::from_shared(url)?.tcp_nodelay(true).tls_config(tls)?.connect().await?;
        Ok(Self(tonic::client::Grpc::new(channel)))
    }

    /// The times of `rounds` echoes, sorted.
    pub async fn echo(&mut self, rounds: usize) -> Fallible<Vec<Duration>> {
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = Instant::now();
            self.0.ready().await?;
            let path = http::uri::PathAndQuery::from_static("/bare.Echo/Echo");
            let codec = tonic_prost::ProstCodec::<Tiny, Tiny>::default();
            let _: tonic::Response<Tiny> = self.0.unary(tonic::Request::new(b"tiny".to_vec()), path, codec).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    }
}

/// `google.protobuf.BytesValue`, which prost has built in.
type Tiny = Vec<u8>;

#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "bare.Echo";
}

struct EchoCall;

impl tonic::server::UnaryService<Tiny> for EchoCall {
    type Response = Tiny;
    type Future = std::future::Ready<Result<tonic::Response<Tiny>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Tiny>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<Tiny, Tiny>::default();
            Ok(tonic::server::Grpc::new(codec).unary(EchoCall, request).await)
        })
    }
}
