//! An empty WASI world, for drivers built against a C library or Rust's standard library.
//!
//! It is for development: `printf` and `println!` reach the host's log, clocks and random numbers work, and there is
//! nothing else: no files, no arguments, no environment, no network, no waiting. A module that imports it is refused
//! unless the operator asks for it (`--wasi`), because these calls stand outside the hostcall table: no context is
//! checked.
//!
//! It is no part of the trusted base: the runtime knows it as a [`World`] that it is given, and `nook-run` gives it.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io::{Error, ErrorKind};

use bytes::Bytes;
use nook_runtime::{DriverLog, Host, World, now_ns};
use tokio::io::{AsyncWrite, sink};
use tracing::Level;
use wasmtime::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

/// The world, as [`Wasi::Given`](nook_runtime::Wasi::Given) takes it.
#[derive(Clone, Copy, Debug)]
pub struct EmptyWorld;

/// What can be imported: nothing that waits, and nothing that would need a file.
const FUNCTIONS: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_seek",
    "fd_write",
    "proc_exit",
    "random_get",
];

/// Bytes of one write; a longer one is done in parts.
const WRITE_BYTES: usize = 4096;

/// Bytes that `random_get` gives at most: no budget ends a call of it, and the host takes as much memory.
const RANDOM_BYTES: u64 = 64 << 10;

impl World for EmptyWorld {
    fn functions(&self) -> &'static [&'static str] {
        FUNCTIONS
    }

    fn link(&self, linker: &mut Linker<Host>) -> wasmtime::Result<()> {
        add_to_linker_sync(linker, state)
    }

    fn state(&self, driver: &str) -> Box<dyn Any + Send> {
        let world = WasiCtxBuilder::new()
            .stdout(ToLog { driver: driver.to_owned(), level: Level::INFO })
            .stderr(ToLog { driver: driver.to_owned(), level: Level::WARN })
            .max_random_size(RANDOM_BYTES)
            .build_p1();
        Box::new(world)
    }
}

/// Returns the state of the instance that calls.
fn state(host: &mut Host) -> &mut WasiP1Ctx {
    let state = host.world().and_then(<dyn Any + Send>::downcast_mut);
    state.expect("an instance whose imports are this world's was given its state")
}

/// Standard output or error of a driver.
struct ToLog {
    driver: String,
    level: Level,
}

impl IsTerminal for ToLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for ToLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Preview 1 takes the other one.
        Box::new(sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines { log: DriverLog::new(self.driver.clone()), level: self.level, begun: Vec::new() })
    }
}

/// A stream of bytes as lines of the log.
struct Lines {
    log: DriverLog,
    level: Level,
    /// The start of a line whose end was not written yet.
    begun: Vec<u8>,
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for &byte in &bytes {
            if byte != b'\n' {
                self.begun.push(byte);
                if self.begun.len() < nook_abi::log_level::MAX_BYTES as usize {
                    continue;
                }
            }
            let line = std::mem::take(&mut self.begun);
            // Its clocks are the machine's, too.
            let told = self.log.message(self.level, &line, now_ns()).map(drop);
            told.map_err(|fault| StreamError::LastOperationFailed(Error::new(ErrorKind::QuotaExceeded, fault).into()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}
