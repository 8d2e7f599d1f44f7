//! A driver instance in a separate process, behind the same interface as a wasm one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nook_abi::{Addr, Entry, Fault, from_word, padded};
use nook_compiled::CompiledDriver;
use nook_process_guest::channel::CHANNEL_BYTES;
use nook_runtime::{Driver, Ended, Host, LaunchError, Launcher, Layout, OwnedManifest};
use seccompiler::BpfProgram;

use crate::ProcessError;
use crate::child::{Child, Confinement, SpawnConfig};
use crate::connection::{Connection, Wait};
use crate::memory::Memory;
use crate::seccomp;

/// Makes driver processes of one program.
pub struct ProcessLauncher {
    program: File,
    layout: Layout,
    wait: Wait,
    /// Whether the nook's clock may be virtual.
    virtual_time: bool,
    filters: Arc<[BpfProgram; 2]>,
    /// Whether it was said how well the process is walled in.
    told: AtomicBool,
}

impl ProcessLauncher {
    /// Loads the program in the file at `path`, which must be the driver that `manifest` describes.
    ///
    /// # Errors
    /// If it is not, or if this machine's system calls cannot be filtered.
    pub fn new(path: &Path, manifest: &OwnedManifest, wait: Wait) -> Result<Self, ProcessError> {
        ProcessLauncher::of_program(&CompiledDriver::read(path, manifest)?, manifest, wait)
    }

    /// The same, of what was read from `path`.
    ///
    /// # Errors
    /// If it is not that driver, or if this machine's system calls cannot be filtered.
    pub fn of(path: &Path, bytes: Vec<u8>, manifest: &OwnedManifest, wait: Wait) -> Result<Self, ProcessError> {
        ProcessLauncher::of_program(&CompiledDriver::of(path.to_owned(), bytes, manifest)?, manifest, wait)
    }

    fn of_program(driver: &CompiledDriver, manifest: &OwnedManifest, wait: Wait) -> Result<Self, ProcessError> {
        let program = driver.sealed_copy();
        let program =
            program.map_err(|error| ProcessError::NoSandbox(format!("a sealed copy of the program: {error}")))?;
        let filters = Arc::new(seccomp::programs().map_err(ProcessError::NoSandbox)?);
        let layout = Layout::new(CHANNEL_BYTES, manifest);
        let (wait, told) = (wait.possible(), AtomicBool::new(false));
        Ok(ProcessLauncher { program, layout, wait, virtual_time: false, filters, told })
    }

    /// Permits nooks on virtual time. A call ends that uses more CPU time than it may, or sleeps by itself for five
    /// seconds of real time; one that is not ended takes the same virtual time as at other levels.
    #[must_use]
    pub fn on_virtual_time(mut self) -> Self {
        self.virtual_time = true;
        self
    }

    fn start(&self, host: &Host) -> Result<(Arc<Memory>, Connection), String> {
        if host.clock().is_virtual() && !self.virtual_time {
            return Err("a process works in real time: give its host the monotonic clock".into());
        }
        let failed = |error: std::io::Error| error.to_string();
        let memory = Arc::new(Memory::new(self.layout, self.wait.spin_ns()).map_err(failed)?);
        let config = SpawnConfig {
            memory: memory.clone(),
            window: host.window().fd().try_clone_to_owned().map_err(failed)?,
            program: self.program.try_clone().map_err(failed)?.into(),
            filters: self.filters.clone(),
        };
        let child = Child::start(config)?;
        if !self.told.swap(true, Ordering::Relaxed) {
            tell(&child);
        }
        let mut connection = Connection::new(memory.clone(), child, self.wait);
        connection.until_ready()?;
        Ok((memory, connection))
    }
}

/// Says what holds the driver's process, and what this machine does not permit.
fn tell(child: &Child) {
    match child.confinement() {
        (Confinement::All, _) => {
            tracing::info!("the driver's process has its own namespaces and a few system calls")
        }
        (Confinement::AsRoot, why) => tracing::warn!(
            "the driver's process shares the host's users ({why}): it has its own namespaces otherwise, and a few system \
             calls"
        ),
        (Confinement::None, why) => tracing::warn!(
            "the driver's process shares the host's namespaces ({why}): it is held by the filter of its system calls alone"
        ),
    }
}

struct ProcessDriver {
    // Dropped first: when the process is gone, nobody writes to what follows.
    connection: Connection,
    host: Host,
    // Dropped last: the host's space lies in it.
    memory: Arc<Memory>,
    host_page: Addr,
    fault: Option<Fault>,
}

impl Launcher for ProcessLauncher {
    fn launch(&self, mut host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        let (memory, connection) = match self.start(&host) {
            Ok(started) => started,
            Err(why) => return Err(Box::new(LaunchError { host, why: format!("the driver's process: {why}") })),
        };
        #[expect(unsafe_code, reason = "the driver's memory is lent to the host that is kept beside it")]
        // SAFETY: `ProcessDriver` drops the memory after the host, which uses the space; if there is none, both go
        // here.
        let space = unsafe { memory.space() };
        match host.begin_instance(space) {
            Ok(host_page) => Ok(Box::new(ProcessDriver { connection, memory, host, host_page, fault: None })),
            Err(error) => Err(Box::new(LaunchError { host, why: error.to_string() })),
        }
    }

    fn isolation(&self) -> &'static str {
        "process"
    }
}

impl ProcessDriver {
    #[inline]
    fn call(&mut self, entry: Entry, args: [u64; 3]) -> Result<u64, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.host.begin_remote_call(entry, args);
        let outcome = self.connection.call(&mut self.host, entry, args);
        self.host.end_remote_call(&outcome);
        outcome.map_err(|fault| self.died(fault))
    }

    /// Ends the process: it no longer touches what it shares with the device and its successor.
    #[cold]
    fn died(&mut self, fault: Fault) -> Fault {
        self.connection.end();
        self.fault = Some(fault);
        fault
    }
}

macro_rules! define_process_driver {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Driver for ProcessDriver {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    let answer = self.call(Entry::$variant, padded([$($arg as u64),*]))?;
                    Ok(from_word!(answer, $result))
                }
            )*

            fn host(&self) -> &Host {
                &self.host
            }

            fn host_mut(&mut self) -> &mut Host {
                &mut self.host
            }

            fn host_page(&self) -> Addr {
                self.host_page
            }

            fn end(self: Box<Self>) -> Ended {
                let ProcessDriver { mut connection, memory, mut host, .. } = *self;
                let quiet = host.end_instance();
                connection.end();
                drop((connection, memory));
                Ended { host, quiet }
            }
        }
    };
}

nook_abi::entries!(define_process_driver);
