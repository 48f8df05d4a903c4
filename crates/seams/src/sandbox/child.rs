//! The inside of a child: confine, say so, serve until the pipe ends.
//!
//! Job: what `main` calls first, and the loop that reads a request, runs the
//! handler and writes the answer.
//!
//! Not its job: the walls themselves (`confine`), the meaning of a request
//! (the program's [`Handler`]). Blocking reads on purpose: there is one thread
//! and nothing else to do.

use std::io::{ErrorKind, Read, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use super::confine::{Pipes, Refusal, confine, keep_pipes, renew_cpu_limit};
use super::frame::{self, Hello, Tag};
use super::{ChildLimits, HIDDEN_ARG, Handler};

/// Exit code of a child that could not build a mandatory wall; all that is left
/// to say when it could not even keep its pipes.
pub(super) const EXIT_REFUSED: u8 = 71;
/// Exit code of a child whose parent did not keep to the protocol.
const EXIT_PROTOCOL: u8 = 76;

/// Serves as a sandboxed child if the program was started as one, and returns
/// the code `main` must exit with; `None` means this is an ordinary start.
///
/// Call it as the first thing in `main`, before any thread, runtime or file.
pub fn enter_child_if_asked(handler: Handler) -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != HIDDEN_ARG {
        return None;
    }
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    Some(match ChildLimits::from_args(&args) {
        Some(limits) => child_main(&limits, handler),
        None => ExitCode::from(EXIT_PROTOCOL),
    })
}

/// Confines the calling process for good and serves requests on standard input
/// and output until the input ends. The process must have one thread.
pub fn child_main(limits: &ChildLimits, handler: Handler) -> ExitCode {
    // A panic message may quote content; nobody is to read it.
    std::panic::set_hook(Box::new(|_| {}));
    let mut pipes = match keep_pipes() {
        Ok(pipes) => pipes,
        Err(Refusal(_)) => return ExitCode::from(EXIT_REFUSED),
    };
    let hello = match confine(limits, &pipes) {
        Ok(report) => Hello::Serving(report),
        Err(Refusal(wall)) => Hello::Refused(wall),
    };
    if pipes.output.write_all(&hello.encode()).is_err() {
        return ExitCode::SUCCESS;
    }
    match hello {
        Hello::Serving(_) => serve(&mut pipes, limits, handler),
        Hello::Refused(_) => ExitCode::from(EXIT_REFUSED),
    }
}

enum Received {
    Request { seq: u32, kind: String, payload: Vec<u8> },
    NoMemory { seq: u32 },
    End,
    Nonsense,
}

fn serve(pipes: &mut Pipes, limits: &ChildLimits, handler: Handler) -> ExitCode {
    loop {
        let (seq, kind, payload) = match receive(&mut pipes.input, limits) {
            Received::Request { seq, kind, payload } => (seq, kind, payload),
            Received::NoMemory { seq } => {
                answer(pipes, seq, Tag::NoMemory, &[]);
                return ExitCode::SUCCESS;
            }
            Received::End => return ExitCode::SUCCESS,
            Received::Nonsense => return ExitCode::from(EXIT_PROTOCOL),
        };
        renew_cpu_limit(limits);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| handler(&kind, payload)));
        let (tag, body) = match outcome {
            Ok(Ok(body)) => (Tag::Done, body),
            Ok(Err(message)) => (Tag::Failed, message.into_bytes()),
            Err(_) => {
                // What unwound may be half-done; only a fresh child is sound.
                answer(pipes, seq, Tag::Panicked, &[]);
                return ExitCode::SUCCESS;
            }
        };
        let fits = body.len().saturating_add(frame::RESPONSE_HEAD_BYTES) <= limits.response_bytes_max as usize;
        let (tag, body) = if fits { (tag, body) } else { (Tag::TooLarge, Vec::new()) };
        if !answer(pipes, seq, tag, &body) {
            return ExitCode::SUCCESS;
        }
    }
}

fn answer(pipes: &mut Pipes, seq: u32, tag: Tag, body: &[u8]) -> bool {
    let head = frame::response_head(seq, tag, body.len() as u32);
    pipes.output.write_all(&head).and_then(|()| pipes.output.write_all(body)).is_ok()
}

fn receive(input: &mut impl Read, limits: &ChildLimits) -> Received {
    let mut length = [0; frame::LENGTH_BYTES];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Received::End,
        Err(_) => return Received::Nonsense,
    }
    let length = u32::from_le_bytes(length);
    if length > limits.request_bytes_max {
        return Received::Nonsense;
    }
    let mut head = [0; frame::REQUEST_HEAD_BYTES];
    let mut left = match (length as usize).checked_sub(head.len()) {
        Some(left) if input.read_exact(&mut head).is_ok() => left,
        _ => return Received::Nonsense,
    };
    let (seq, kind_bytes) = frame::decode_request_head(head);
    let mut kind = vec![0; kind_bytes];
    left = match left.checked_sub(kind_bytes) {
        Some(left) if input.read_exact(&mut kind).is_ok() => left,
        _ => return Received::Nonsense,
    };
    let Ok(kind) = String::from_utf8(kind) else {
        return Received::Nonsense;
    };
    let mut payload = Vec::new();
    if payload.try_reserve_exact(left).is_err() {
        return Received::NoMemory { seq };
    }
    payload.resize(left, 0);
    match input.read_exact(&mut payload) {
        Ok(()) => Received::Request { seq, kind, payload },
        Err(_) => Received::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ChildLimits {
        ChildLimits { request_bytes_max: 64, ..ChildLimits::default() }
    }

    #[test]
    fn a_request_is_read_whole() {
        let mut bytes = frame::request_head(3, "pdf", 2, 64).unwrap();
        bytes.extend_from_slice(b"ab");
        let Received::Request { seq, kind, payload } = receive(&mut &bytes[..], &limits()) else {
            panic!("not a request");
        };
        assert_eq!((seq, kind.as_str(), payload.as_slice()), (3, "pdf", &b"ab"[..]));
    }

    #[test]
    fn the_end_of_the_pipe_is_the_end() {
        assert!(matches!(receive(&mut &b""[..], &limits()), Received::End));
        assert!(matches!(receive(&mut &b"\x01\x00"[..], &limits()), Received::End));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in
            [&b"\xff\xff\xff\xff"[..], b"\x04\x00\x00\x00\x01\x00\x00\x00", b"\x06\x00\x00\x00\x01\x00\x00\x00\x09k"]
        {
            assert!(matches!(receive(&mut &bytes[..], &limits()), Received::Nonsense));
        }
    }
}
