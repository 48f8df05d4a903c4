//! Compiles the wire schema with protox, so that building needs no `protoc`.
//!
//! Only messages are generated. The one method is served and called by hand (`src/rpc.rs`),
//! because the recorder must see a message's bytes before anything decodes them, and a cleared
//! payload must be written as it is, without passing through a generated struct.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/session.proto");
    let files = protox::compile(["session.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        // Zero-copy out of the received buffer.
        .bytes(".")
        // User content must not print itself.
        .skip_debug(["."])
        .compile_fds(files)?;
    Ok(())
}
