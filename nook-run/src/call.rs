//! `nook-run call`: one call of an operation that a run serves.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nook_client::{Client, hex, unhex};

/// `nook-run call`.
#[derive(Debug, clap::Args)]
pub struct CallArgs {
    /// The socket of the nook: what was given as --serve.
    pub nook: PathBuf,
    /// The operation.
    pub operation: String,
    /// Its input: bytes in hexadecimal, two digits each. Without this there is none.
    pub bytes: Option<String>,
}

/// Returns what the operation gives, in hexadecimal, as a line.
///
/// # Errors
/// Why it gives nothing.
pub fn text(args: &CallArgs) -> Result<String> {
    let CallArgs { nook, operation, bytes } = args;
    let input = unhex(bytes.as_deref().unwrap_or("-"));
    let input = input.with_context(|| {
        let bytes = bytes.as_deref().unwrap_or_default();
        format!("`{bytes}` is not bytes in hexadecimal, two digits each, such as 05000000")
    })?;
    let output = Client::connect(nook).and_then(|mut client| client.call(operation, &input));
    Ok(format!("{}\n", hex(&output?)))
}
