//! The way into a wasm driver.

use std::sync::Arc;

use nook_abi::{Addr, ENTRY_PREFIX, Entry, Fault, Status, TrapKind};
use wasmtime::{FrameInfo, InstancePre, Linker, Module, Store, Trap, TypedFunc, UpdateDeadline, WasmBacktrace};

use crate::space::Places;
use crate::survey::MEMORY_EXPORT;
use crate::trail::{Frame, padded};
use crate::{
    Checkpoint, Checkpointing, Driver, DriverModule, Engine, EngineError, FilterModule, Host, LaunchError, Launcher,
    ModuleCache, RolledBack, Space, direct, filter, glue, is_transaction, memory, wasi,
};

macro_rules! wasm_type {
    (Addr) => {
        u32
    };
    ($ty:tt) => {
        $ty
    };
}

macro_rules! to_wasm {
    ($value:ident Addr) => {
        $value as u32
    };
    ($value:ident $ty:tt) => {
        $value
    };
}

/// What the host takes an optional entry to say that a driver does not have.
macro_rules! absent {
    (i32) => {
        Status::Unsupported.code()
    };
    (u32) => {
        0
    };
    (()) => {
        ()
    };
}

macro_rules! define_wasm_driver {
    ($({ $doc:literal } $context:ident $required:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The entries that a module exports.
        struct Entries {
            $($name: Option<TypedFunc<($(wasm_type!($ty),)*), $result>>,)*
        }

        impl Entries {
            fn of(instance: &wasmtime::Instance, store: &mut Store<Host>) -> wasmtime::Result<Self> {
                Ok(Entries { $($name: {
                    let name = format!("{ENTRY_PREFIX}{}", stringify!($name));
                    match instance.get_func(&mut *store, &name) {
                        Some(func) => Some(func.typed(&mut *store)?),
                        None => None,
                    }
                },)* })
            }
        }

        impl Driver for WasmDriver {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    let Some(entry) = &self.entries.$name else { return Ok(absent!($result)) };
                    if let Some(fault) = self.fault {
                        return Err(fault);
                    }
                    let host = self.store.data_mut();
                    host.begin_call(Entry::$variant);
                    host.trail.entry(Entry::$variant, padded([$($arg as u64),*]));
                    if self.checkpoint.is_some() && is_transaction(Entry::$variant) {
                        host.begin_transaction();
                    }
                    let watched = host.crash_begins(Entry::$variant);
                    if watched {
                        // Each look at the time finds it up.
                        self.store.set_epoch_deadline(0);
                    }
                    let outcome = entry.call(&mut self.store, ($(to_wasm!($arg $ty),)*));
                    if watched {
                        self.store.set_epoch_deadline(1);
                    }
                    match outcome {
                        // Whatever else the call came to: it was made of 0xff.
                        _ if self.store.data().bar_is_lost() => Err(self.lost()),
                        Ok(result) => Ok(result),
                        Err(error) => Err(self.died(Entry::$variant, &error)),
                    }
                }
            )*

            fn roll_back(&mut self) -> Option<RolledBack> {
                let returned = self.fault.is_none();
                let done = self.checkpoint.as_mut()?.roll_back(&mut self.store, returned);
                match done {
                    Ok(done) => {
                        self.fault = None;
                        self.store.data_mut().trail.begin();
                        Some(done)
                    }
                    Err(error) => {
                        tracing::error!("the call cannot be taken back: {error:#}");
                        None
                    }
                }
            }

            fn host(&self) -> &Host {
                self.store.data()
            }

            fn host_mut(&mut self) -> &mut Host {
                self.store.data_mut()
            }

            fn host_page(&self) -> Addr {
                self.host_page
            }

            fn into_host(mut self: Box<Self>) -> Host {
                self.store.data_mut().leave_memory();
                self.store.into_data()
            }
        }
    };
}

nook_abi::entries!(define_wasm_driver);

/// A wasm driver instance.
pub struct WasmDriver {
    store: Store<Host>,
    entries: Entries,
    host_page: Addr,
    fault: Option<Fault>,
    checkpoint: Option<Box<dyn Checkpoint>>,
    /// Whether the filter runs, if there is one.
    inside: Option<filter::Inside>,
}

/// What [`WasmLauncher::instantiate`] makes.
struct Made {
    entries: Entries,
    space: Space,
    checkpoint: Option<Box<dyn Checkpoint>>,
    inside: Option<filter::Inside>,
}

/// The BAR that a shim gives direct access to: what the register maps of all drivers describe.
const DIRECT_BAR: u8 = 0;

impl WasmDriver {
    /// The device went while the driver had it as memory.
    #[cold]
    fn lost(&mut self) -> Fault {
        self.fault = Some(Fault::DeviceGone);
        Fault::DeviceGone
    }

    #[cold]
    fn died(&mut self, entry: Entry, error: &wasmtime::Error) -> Fault {
        let fault = match (error.downcast_ref::<Fault>(), error.downcast_ref::<Trap>()) {
            (Some(&fault), _) => fault,
            (None, Some(&trap)) => Fault::Trap { entry, kind: trap_kind(trap) },
            (None, None) => {
                tracing::error!("{entry}: {error:#}");
                Fault::Trap { entry, kind: TrapKind::Other }
            }
        };
        self.fault = Some(fault);
        self.store.data_mut().trail.frames = frames(error);
        if self.inside.is_some_and(|inside| inside.runs(&mut self.store)) {
            self.store.data_mut().accuse_filter();
        }
        fault
    }
}

/// The call stack at the fault, innermost first.
fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let frame = |frame: &FrameInfo| Frame {
        function: frame.func_index(),
        name: frame.func_name().map(str::to_owned),
        module_offset: frame.module_offset().map(|offset| offset as u64),
        // The host calls the driver, and the driver calls its filter.
        in_driver: frames.last().is_some_and(|outermost| Module::same(frame.module(), outermost.module())),
    };
    frames.iter().map(frame).collect()
}

fn trap_kind(trap: Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::HeapMisaligned => TrapKind::Misaligned,
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => TrapKind::Arithmetic,
        Trap::IndirectCallToNull | Trap::BadSignature | Trap::TableOutOfBounds => TrapKind::IndirectCall,
        Trap::StackOverflow => TrapKind::StackOverflow,
        _ => TrapKind::Other,
    }
}

/// How a driver reaches its device's registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mmio {
    /// Through the host: policy, trace, counts.
    #[default]
    Emulated,
    /// Through a shim whose memory is the BAR: the BAR's length is the only check. For a driver and a device that one
    /// trusts with each other.
    Direct,
}

/// How the imports of the next instance are answered.
enum Link {
    /// By the host alone: everything was looked up beforehand.
    Host(InstancePre<Host>),
    /// Some by other instances, which are made anew for each instance: registers by a shim, and a filter.
    Instances {
        linker: Linker<Host>,
        driver: wasmtime::Module,
        registers: Option<wasmtime::Module>,
        filter: Option<Box<filter::Compiled>>,
    },
}

/// Makes instances of one compiled module.
pub struct WasmLauncher {
    engine: Engine,
    module: Arc<DriverModule>,
    link: Link,
    checkpointing: Option<Arc<dyn Checkpointing>>,
}

impl WasmLauncher {
    /// Compiles the module, or takes it from the cache, and links it.
    ///
    /// # Errors
    /// If the engine cannot be set up or the compiler refuses.
    pub fn new(module: Arc<DriverModule>, cache: &ModuleCache, mmio: Mmio) -> Result<Self, EngineError> {
        Self::linked(module, None, cache, mmio, None)
    }

    /// The same, with a filter beside the driver, which gets `rules`: one nook and one fate.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the driver asks no filter.
    pub fn filtered(
        module: Arc<DriverModule>,
        filter: &FilterModule,
        rules: String,
        cache: &ModuleCache,
        mmio: Mmio,
    ) -> Result<Self, EngineError> {
        if !module.imports().iter().any(|name| name == filter::IMPORT) {
            let name = module.manifest().name.clone();
            return Err(EngineError::AsksNoFilter { driver: name, import: filter::IMPORT });
        }
        Self::linked(module, Some((filter, rules)), cache, mmio, None)
    }

    /// The same, with calls that can be taken back. Registers are emulated: what reached a register directly cannot be
    /// held back.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if this module's calls cannot be taken back.
    pub fn undoable(
        module: &DriverModule,
        cache: &ModuleCache,
        checkpointing: Arc<dyn Checkpointing>,
    ) -> Result<Self, EngineError> {
        let prepared = checkpointing.prepare(module).map_err(EngineError::NotUndoable)?;
        Self::linked(Arc::new(module.with_wasm(prepared)), None, cache, Mmio::Emulated, Some(checkpointing))
    }

    fn linked(
        module: Arc<DriverModule>,
        filter: Option<(&FilterModule, String)>,
        cache: &ModuleCache,
        mmio: Mmio,
        checkpointing: Option<Arc<dyn Checkpointing>>,
    ) -> Result<Self, EngineError> {
        let engine = Engine::new()?;
        let compiled = engine.compile(module.wasm(), cache)?;
        let mut linker = Linker::new(engine.wasmtime());
        let refused = |error: wasmtime::Error| EngineError::Compile(format!("{error:#}"));
        glue::link(&mut linker).map_err(refused)?;
        if module.imports_wasi() {
            wasi::link(&mut linker).map_err(refused)?;
        }
        let filter =
            filter.map(|(filter, rules)| filter.compile(&engine, cache, &module, rules)).transpose()?.map(Box::new);
        let registers = match mmio {
            Mmio::Emulated => None,
            Mmio::Direct => Some(wasmtime::Module::new(engine.wasmtime(), direct::shim(DIRECT_BAR)).map_err(refused)?),
        };
        let link = match (registers, filter) {
            (None, None) => Link::Host(linker.instantiate_pre(&compiled).map_err(refused)?),
            (registers, filter) => {
                linker.allow_shadowing(true);
                Link::Instances { linker, driver: compiled, registers, filter }
            }
        };
        Ok(WasmLauncher { engine, module, link, checkpointing })
    }

    fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Made> {
        let mut inside = None;
        let layout = *self.module.layout();
        let window = store.data().window().clone();
        let pre = match &self.link {
            Link::Host(pre) => pre,
            Link::Instances { linker, driver, registers, filter } => {
                let mut linker = linker.clone();
                if let Some(shim) = registers {
                    let bar = store.data_mut().map_bar(DIRECT_BAR, direct::RESERVE_BYTES)?;
                    direct::link(&mut linker, store, shim, bar)?;
                }
                if let Some(filter) = filter {
                    inside = Some(filter.link(&mut linker, store)?);
                }
                &linker.instantiate_pre(driver)?
            }
        };
        let instance = memory::with_window(&window, layout.window, || pre.instantiate(&mut *store))?;
        let memory = instance.get_memory(&mut *store, MEMORY_EXPORT);
        let memory = memory.ok_or_else(|| wasmtime::format_err!("the module does not export its memory"))?;
        let places =
            Places { heap: layout.own_bytes, host_page: layout.host_page, rings: layout.rings, window: layout.window };
        // SAFETY: the memory is made by `memory::Creator`: it never moves or shrinks and lives as long as the store,
        // which holds the host that uses the space; the layout's places lie inside of it and are aligned.
        let space = unsafe { Space::new(memory.data_ptr(&*store), memory.data_size(&*store) as u64, places) };
        let checkpoint = self.checkpointing.as_ref().map(|way| way.attach(store, &instance)).transpose()?;
        Ok(Made { entries: Entries::of(&instance, store)?, space, checkpoint, inside })
    }
}

impl Launcher for WasmLauncher {
    fn launch(&self, mut host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        if self.module.imports_wasi() {
            host.give_wasi();
        }
        let mut store = Store::new(self.engine.wasmtime(), host);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let host = context.data_mut();
            let (outcome, next) = match host.crash_looks() {
                Some(outcome) => (outcome, 0),
                None => (host.tick(), 1),
            };
            outcome.map(|()| UpdateDeadline::Continue(next)).map_err(wasmtime::Error::new)
        });
        // Instantiation runs compiled code too, and is not to be charged to the last call of an earlier instance.
        store.data_mut().budget.begin(Entry::Probe);
        let begun = match self.instantiate(&mut store) {
            Ok(made) => match store.data_mut().begin_instance(made.space) {
                Ok(host_page) => Ok((made, host_page)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(format!("{error:#}")),
        };
        match begun {
            Ok((Made { entries, checkpoint, inside, .. }, host_page)) => {
                Ok(Box::new(WasmDriver { store, entries, host_page, fault: None, checkpoint, inside }))
            }
            Err(why) => Err(Box::new(LaunchError { host: store.into_data(), why })),
        }
    }

    fn isolation(&self) -> &'static str {
        self.checkpointing.as_ref().map_or("sfi", |way| way.isolation())
    }
}
