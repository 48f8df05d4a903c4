//! gRPC over HTTP/2: the one method `/tidegate.v1.Session/Open`, served and called.
//!
//! Job: headers, message framing and flow-control sizes. tonic decodes messages; writing them is
//! done here, because a cleared payload can then go to the line as a chunk of its own, uncopied.
//! hyper is used without tonic's server and channel: those hide the peer of a connection, allow
//! neither TLS 1.3 alone nor switching resumption off, and cannot cut one live connection.
//!
//! Not here: sockets and TLS (`listen`, `connect`), what frames mean.
//!
//! The headers are constants: metadata is an exit like any other (invariant I1).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame as HttpFrame};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidegate_domain::ids::SiteId;
use tidegate_domain::limits::FRAME_BYTES_MAX;
use tidegate_domain::session::{Body, Frame};
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::{Code, Status};

use crate::connection::Outbound;
use crate::parcel::Parcel;
use crate::wire::encode_head;

/// The method's path.
pub(crate) const PATH: &str = "/tidegate.v1.Session/Open";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// The compression flag and the length in front of each message.
const PREFIX_BYTES: usize = 5;
/// Small messages are put together up to here before they are handed to HTTP/2.
const CHUNK_BYTES: usize = 32 << 10;
/// A payload above this goes to the line as a chunk of its own instead of being copied.
const COPY_BYTES_MAX: usize = 16 << 10;
/// HTTP/2 window: 1 Gbit/s over a round trip of 100 ms is 12.5 MB on the way.
const WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 frames: large enough that a payload of megabytes is not cut into thousands.
const HTTP_FRAME_BYTES: u32 = 256 << 10;
const SEND_BUFFER_BYTES: usize = 1 << 20;
const HEADER_BYTES_MAX: u32 = 8 << 10;
/// HTTP/2 pings; the session's own notice a silent peer first. These end a line on which a
/// session never began.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sees what reaches the hub, before anything else does. For `--record` and the tests' oracle.
pub trait Recorder: Send + Sync {
    /// The headers of a request.
    fn headers(&self, peer: SiteId, path: &str, headers: &HeaderMap);
    /// One message, as it came.
    fn message(&self, peer: SiteId, bytes: &[u8]);
}

/// A recorder and whom it is told about.
pub(crate) type Recording = Option<(Arc<dyn Recorder>, SiteId)>;

/// Frames on their way out, as the body of a request or response.
pub(crate) struct OutBody<O> {
    outbound: Outbound<O>,
    buffer: BytesMut,
    /// The payload that follows what is in the buffer.
    large: Option<Bytes>,
    /// A server ends with its status.
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl<O: Parcel> OutBody<O> {
    pub(crate) fn request(outbound: Outbound<O>) -> Self {
        Self { outbound, buffer: BytesMut::new(), large: None, trailers: None, ended: false }
    }

    fn response(outbound: Outbound<O>) -> Self {
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
        Self { trailers: Some(trailers), ..Self::request(outbound) }
    }

    fn put(&mut self, frame: &Frame<O>) {
        let start = self.buffer.len();
        self.buffer.put_bytes(0, PREFIX_BYTES);
        encode_head(frame, &mut self.buffer);
        let mut message_bytes = self.buffer.len() - start - PREFIX_BYTES;
        if let Body::Payload(payload) = &frame.body {
            message_bytes += payload.bytes().len();
            if payload.bytes().len() > COPY_BYTES_MAX {
                self.large = Some(payload.bytes().clone());
            } else {
                self.buffer.put_slice(payload.bytes());
            }
        }
        // What was cleared is at most a transfer, so the length fits by far.
        let length = u32::try_from(message_bytes).unwrap_or(u32::MAX);
        self.buffer[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    }
}

impl<O: Parcel> HttpBody for OutBody<O> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<HttpFrame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if this.large.is_some() || this.buffer.len() >= CHUNK_BYTES {
                break;
            }
            match this.outbound.poll_next(cx) {
                Poll::Ready(Some(frame)) => this.put(&frame),
                Poll::Ready(None) => {
                    this.ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if !this.buffer.is_empty() {
            return Poll::Ready(Some(Ok(HttpFrame::data(this.buffer.split().freeze()))));
        }
        if let Some(payload) = this.large.take() {
            return Poll::Ready(Some(Ok(HttpFrame::data(payload))));
        }
        if !this.ended {
            return Poll::Pending;
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(HttpFrame::trailers(trailers))))
    }
}

/// Hands out messages as they came, to the recorder first.
struct RawDecoder(Recording);

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf as _;
        let message = buffer.copy_to_bytes(buffer.remaining());
        if let Some((recorder, peer)) = &self.0 {
            recorder.message(*peer, &message);
        }
        Ok(Some(message))
    }
}

/// The request a node opens its session with.
pub(crate) fn request<O: Parcel>(authority: &str, outbound: Outbound<O>) -> Result<Request<OutBody<O>>, http::Error> {
    let uri = http::Uri::builder().scheme("https").authority(authority).path_and_query(PATH).build()?;
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .version(http::Version::HTTP_2)
        .header(header::TE, HeaderValue::from_static("trailers"))
        .header(header::CONTENT_TYPE, GRPC)
        .body(OutBody::request(outbound))
}

/// Frames from a response, if it is one of this method.
pub(crate) fn response_frames(response: Response<hyper::body::Incoming>) -> Result<Streaming<Bytes>, Status> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK || head.headers.get(header::CONTENT_TYPE) != Some(&GRPC) {
        return Err(Status::unavailable("the hub did not open a session"));
    }
    if let Some(status) = Status::from_header_map(&head.headers)
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    Ok(Streaming::new_response(RawDecoder(None), body, head.status, None, Some(FRAME_BYTES_MAX)))
}

/// Whether a request calls the method.
pub(crate) fn is_open(request: &Request<hyper::body::Incoming>) -> bool {
    request.method() == Method::POST
        && request.uri().path() == PATH
        && request.uri().query().is_none()
        && request.headers().get(header::CONTENT_TYPE) == Some(&GRPC)
}

/// Frames from a request.
pub(crate) fn request_frames(body: hyper::body::Incoming, recording: Recording) -> Streaming<Bytes> {
    Streaming::new_request(RawDecoder(recording), body, None, Some(FRAME_BYTES_MAX))
}

/// The answer to a request of this method.
pub(crate) fn accept<O: Parcel>(outbound: Outbound<O>) -> Response<tonic::body::Body> {
    let mut response = Response::new(tonic::body::Body::new(OutBody::response(outbound)));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// The answer to anything else.
pub(crate) fn refuse(code: Code) -> Response<tonic::body::Body> {
    Status::new(code, "").into_http()
}

pub(crate) fn server_settings() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        // One session; a few more so that a refused second call gets an answer.
        .max_concurrent_streams(4)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

pub(crate) fn client_settings() -> hyper::client::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(0)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
