//! The way into a wasm driver.

use std::sync::Arc;

use nook_abi::{Addr, Context, ENTRY_PREFIX, Entry, Fault, Status, TrapKind, padded};
use nook_instrument::MEMORY_EXPORT;
use wasmtime::{InstancePre, Linker, Store, Trap, TypedFunc};

use crate::cache::{Compiled, Recipe};
use crate::countdown::Countdown;
use crate::finish::finish;
use crate::meter::Meter;
use crate::net::filter;
use crate::origin::Origin;
use crate::record::{self, Recorder};
use crate::shadow_stack::lowest_stack_bytes;
use crate::space::RegionAddrs;
use crate::survey::INITIALIZE;
use crate::time_cell::{self, Of, TimeCell};
use crate::watch::cell_value;
use crate::{
    CodeGen, Driver, DriverModule, Ended, Engine, EngineError, FilterModule, Host, Image, InstanceRollback,
    LaunchError, Launcher, Mmio, ModuleCache, Rollback, RolledBack, Space, direct, glue, memory,
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
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The entries that a module exports.
        struct Entries {
            /// What is called once, in `probe`, before it.
            initialize: Option<TypedFunc<(), ()>>,
            $($name: Option<TypedFunc<($(wasm_type!($ty),)*), $result>>,)*
        }

        impl Entries {
            fn of(instance: &wasmtime::Instance, store: &mut Store<Host>) -> wasmtime::Result<Self> {
                let initialize = glue::exported(instance, store, INITIALIZE)?;
                Ok(Entries { initialize, $($name: {
                    glue::exported(instance, store, &format!("{ENTRY_PREFIX}{}", stringify!($name)))?
                },)* })
            }
        }

        impl Driver for WasmDriver {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    record::keep_state(&mut self.store, &mut self.rollback, self.fault);
                    let Some(entry) = &self.entries.$name else { return Ok(absent!($result)) };
                    let taken = self.store.data().device_is_taken();
                    if self.fault.is_some() || taken.is_some() {
                        return Err(self.ended(taken));
                    }
                    let host = self.store.data_mut();
                    host.begin_call(Entry::$variant);
                    host.call.trace.entry(Entry::$variant, padded([$($arg as u64),*]));
                    host.record_entered(Entry::$variant, padded([$($arg as u64),*]));
                    if self.rollback.is_some() && const { Entry::$variant.is_transaction() } {
                        host.begin_transaction();
                        if let Some(rollback) = &mut self.rollback
                            && self.begins
                        {
                            rollback.begin(&mut self.store);
                        }
                    }
                    let counted = self.countdown.filter(|countdown| countdown.begin(&mut self.store, Entry::$variant));
                    let value = cell_value(Context::$context, self.store.data().counters.entries);
                    if let Some(time) = &mut self.time {
                        time.begin(value);
                    }
                    self.meter.begin(&mut self.store, Context::$context);
                    let initialize = const { matches!(Entry::$variant, Entry::Probe) };
                    let begun = match if initialize { self.entries.initialize.take() } else { None } {
                        Some(initialize) => initialize.call(&mut self.store, ()),
                        None => Ok(()),
                    };
                    let outcome = begun.and_then(|()| entry.call(&mut self.store, ($(to_wasm!($arg $ty),)*)));
                    if self.store.data().call.watch.is_long() {
                        self.store.data_mut().end_long_call();
                    }
                    let injected = counted.is_some_and(|countdown| countdown.end(&mut self.store, outcome.is_ok()));
                    // Whatever else the call came to: it was made of ones or zeros.
                    if let Some(fault) = self.store.data().device_is_taken() {
                        return Err(self.lost(fault));
                    }
                    // Matched where it lies: moved as a whole, it would be read before its halves are written.
                    match outcome {
                        Ok(result) => {
                            let host = self.store.data_mut();
                            let rung = host.ring_doorbells().map(|()| result);
                            host.left(&rung);
                            rung
                        }
                        Err(error) => Err(self.died(Entry::$variant, &error, injected)),
                    }
                }
            )*

            fn roll_back(&mut self) -> Option<RolledBack> {
                let returned = self.fault.is_none();
                let done = self.rollback.as_mut()?.roll_back(&mut self.store, returned);
                match done {
                    Ok(done) => {
                        self.fault = None;
                        let host = self.store.data_mut();
                        host.call.trace.begin();
                        host.record_rolled_back();
                        Some(done)
                    }
                    Err(error) => {
                        tracing::error!("the call cannot be rolled back: {error:#}");
                        None
                    }
                }
            }

            fn can_snapshot(&self) -> bool {
                self.rollback.is_some()
            }

            fn capture(&mut self) -> Option<Image> {
                let globals = self.rollback.as_mut()?.globals(&mut self.store);
                let host = self.store.data_mut();
                let number = host.recorder().map_or(0, Recorder::captured);
                Some(Image::of(host.space.as_ref()?, host.layout(), globals, number))
            }

            fn restore(&mut self, image: &Image) -> Result<(), String> {
                let (host, rollback) = (self.store.data(), self.rollback.as_mut());
                let (Some(space), Some(rollback)) = (&host.space, rollback) else {
                    return Err("there is no instance that could be restored".into());
                };
                image.put_back(space, host.layout());
                let done = rollback.restore_globals(&mut self.store, &image.globals);
                done.map_err(|error| format!("{error:#}"))?;
                self.fault = None;
                self.store.data_mut().record_restored(image.number);
                Ok(())
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

            fn end(mut self: Box<Self>) -> Ended {
                let quiet = self.store.data_mut().end_instance();
                self.time = None;
                self.filter_time = None;
                Ended { host: self.store.into_data(), quiet }
            }
        }
    };
}

nook_abi::entries!(define_wasm_driver);

/// A wasm driver instance.
pub struct WasmDriver {
    /// What its deadline checks look at. It lies in the store, and so goes before it, as does a filter's.
    time: Option<TimeCell>,
    filter_time: Option<TimeCell>,
    store: Store<Host>,
    entries: Entries,
    host_page: Addr,
    fault: Option<Fault>,
    rollback: Option<Box<dyn InstanceRollback>>,
    /// Where its code comes from.
    origin: Arc<Origin>,
    /// What ends calls on request, if its module can do that.
    countdown: Option<Countdown>,
    /// The rollback has a share in the beginning of calls.
    begins: bool,
    /// Whether the filter runs, if there is one.
    inside: Option<filter::Inside>,
    meter: Meter,
}

/// What [`WasmLauncher::instantiate`] makes.
struct Made {
    entries: Entries,
    space: Space,
    rollback: Option<Box<dyn InstanceRollback>>,
    time: Option<TimeCell>,
    filter_time: Option<TimeCell>,
    countdown: Option<Countdown>,
    inside: Option<filter::Inside>,
}

/// The BAR that a shim gives direct access to: what the register maps of all drivers describe.
const DIRECT_BAR: u8 = 0;

impl WasmDriver {
    /// Ends the instance because the device went, or was taken away.
    #[cold]
    fn lost(&mut self, fault: Fault) -> Fault {
        self.fault = Some(fault);
        let host = self.store.data_mut();
        host.drop_doorbells();
        host.left(&Err::<(), _>(fault));
        fault
    }

    /// Returns why the instance cannot be called: it has ended already, or it ends because the device went.
    #[cold]
    fn ended(&mut self, taken: Option<Fault>) -> Fault {
        let fault = self.fault.or(taken).unwrap_or(Fault::DeviceGone);
        self.lost(fault)
    }

    /// Ends the instance because the call ended in an error, which was made on request if it was `injected`.
    #[cold]
    fn died(&mut self, entry: Entry, error: &wasmtime::Error, injected: bool) -> Fault {
        let fault = match (error.downcast_ref::<Fault>(), error.downcast_ref::<Trap>()) {
            (Some(&fault), _) => fault,
            (None, Some(_)) if injected => Fault::Trap { entry, kind: TrapKind::Injected },
            (None, Some(&trap)) => self.trapped(entry, trap),
            (None, None) => {
                tracing::error!("{entry}: {error:#}");
                Fault::Trap { entry, kind: TrapKind::Other }
            }
        };
        self.fault = Some(fault);
        let host = self.store.data_mut();
        host.drop_doorbells();
        host.call.trace.callers = self.origin.callers(error);
        host.call.trace.outside = glue::outside(error);
        host.left(&Err::<(), _>(fault));
        if self.inside.is_some_and(|inside| inside.runs(&mut self.store)) {
            self.store.data_mut().blame_filter();
        }
        fault
    }

    /// Returns the fault that a trap is.
    fn trapped(&mut self, entry: Entry, trap: Trap) -> Fault {
        if let Some(fault) = self.store.data_mut().is_over(trap) {
            return fault;
        }
        let full = self.rollback.as_mut().is_some_and(|log| log.is_full(&mut self.store));
        Fault::Trap { entry, kind: if full { TrapKind::UndoLogFull } else { glue::trap_kind(trap) } }
    }
}

/// How the imports of the next instance are answered.
enum Link {
    /// By the host alone: everything was looked up beforehand.
    Host(InstancePre<Host>),
    /// Some by other instances, which are made again for each instance: registers by a shim, and a filter.
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
    recoverable: Option<Arc<dyn Rollback>>,
    origin: Arc<Origin>,
    /// Of a stack that lies lowest in the driver's memory.
    stack_bytes: Option<u32>,
}

impl WasmLauncher {
    /// Compiles the module, or takes it from the cache, and links it.
    ///
    /// # Errors
    /// If the engine cannot be set up or the compiler refuses.
    pub fn new(module: Arc<DriverModule>, cache: &ModuleCache, mmio: Mmio) -> Result<Self, EngineError> {
        Self::linked(&CodeGen::default(), module, None, cache, mmio, None)
    }

    /// Creates a launcher with a filter beside the driver, which gets `rules`. The two share one nook and end together.
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
        Self::linked(&CodeGen::default(), module, Some((filter, rules)), cache, mmio, None)
    }

    /// Returns the same, with calls that can be rolled back. Registers are emulated: what reached a register directly
    /// cannot be held back.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if this module's calls cannot be rolled back.
    pub fn with_rollback(
        module: &DriverModule,
        cache: &ModuleCache,
        rollback: Arc<dyn Rollback>,
    ) -> Result<Self, EngineError> {
        Self::linked(&CodeGen::default(), Arc::new(module.clone()), None, cache, Mmio::Emulated, Some(rollback))
    }

    /// Creates one as [`new`](Self::new) does, with registers emulated, and compiled in another way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn compiled(how: &CodeGen, module: Arc<DriverModule>, cache: &ModuleCache) -> Result<Self, EngineError> {
        Self::linked(how, module, None, cache, Mmio::Emulated, None)
    }

    fn linked(
        how: &CodeGen,
        module: Arc<DriverModule>,
        filter: Option<(&FilterModule, String)>,
        cache: &ModuleCache,
        mmio: Mmio,
        recoverable: Option<Arc<dyn Rollback>>,
    ) -> Result<Self, EngineError> {
        let engine = Engine::new(&CodeGen { metered: how.metered || module.is_metered(), ..*how })?;
        let refused = |error: wasmtime::Error| EngineError::Compile(format!("{error:#}"));
        let made = recoverable.as_ref().map_or(Some("deadline checks".to_owned()), |way| way.recipe(&module));
        let made = made.filter(|_| how.deadline_checks);
        let made = made.map(|made| if module.counts() { format!("{made}, counting") } else { made });
        let made = made.map(|made| if module.records() { format!("{made}, recording") } else { made });
        let recipe = Recipe { sha256: module.sha256(), layout: module.layout(), made };
        let compiled = cache.get_or_compile(&engine, &recipe, || finish(how, &module, recoverable.as_deref()))?;
        let Compiled { module: compiled, origin } = compiled;
        let mut linker = Linker::new(engine.wasmtime());
        glue::link(&mut linker).map_err(refused)?;
        glue::link_hints(&mut linker).map_err(refused)?;
        if let Some(world) = module.world() {
            world.link(&mut linker).map_err(refused)?;
        }
        let filter =
            filter.map(|(filter, rules)| filter.compile(&engine, cache, &module, rules)).transpose()?.map(Box::new);
        let origin = Arc::new(origin.with_filter(filter.as_ref().map(|filter| filter.origin())));
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
        let stack_bytes = lowest_stack_bytes(module.laid_out());
        Ok(WasmLauncher { engine, module, link, recoverable, origin, stack_bytes })
    }

    fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Made> {
        let (mut inside, mut filter_time) = (None, None);
        let layout = *self.module.layout();
        let pre = match &self.link {
            Link::Host(pre) => pre,
            Link::Instances { linker, driver, registers, filter } => {
                let mut linker = linker.clone();
                if let Some(shim) = registers {
                    let bar = store.data_mut().lend_bar(DIRECT_BAR, direct::RESERVE_BYTES)?;
                    direct::link(&mut linker, store, shim, bar)?;
                }
                if let Some(filter) = filter {
                    inside = Some(filter.link(&mut linker, store, self.engine.cells(), &mut filter_time)?);
                }
                &linker.instantiate_pre(driver)?
            }
        };
        let lend = store.data().lend_window(layout.window);
        let instance = memory::with_window(lend, || pre.instantiate(&mut *store))?;
        let memory = instance.get_memory(&mut *store, MEMORY_EXPORT);
        let memory = memory.ok_or_else(|| wasmtime::format_err!("the module does not export its memory"))?;
        let places = RegionAddrs {
            heap: layout.own_bytes,
            host_page: layout.host_page,
            rings: layout.rings,
            window: layout.window,
        };
        #[expect(unsafe_code, reason = "the host is given the memory's address")]
        // SAFETY: the memory is made by `memory::Creator`: it never moves or shrinks and lives as long as the store,
        // which holds the host that uses the space; the layout's places lie inside it and are aligned.
        let space = unsafe { Space::new(memory.data_ptr(&*store), memory.data_size(&*store) as u64, places) };
        let (mut rollback, mut time) = (None, None);
        if let Some(way) = &self.recoverable {
            let question = time_cell::question(store, Of::Driver);
            let attached = way.attach(store, &instance, question)?;
            let cell = attached.time_cell();
            time = cell.map(|(memory, offset)| self.engine.cells().add(store, memory, offset)).transpose()?;
            rollback = Some(attached);
        }
        if time.is_none() {
            time = self.engine.cells().of(store, &instance, Of::Driver)?;
        }
        let countdown = Countdown::of(store, &instance);
        record::attach(store, &instance)?;
        Ok(Made { entries: Entries::of(&instance, store)?, space, rollback, time, filter_time, countdown, inside })
    }
}

impl Launcher for WasmLauncher {
    fn launch(&self, mut host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        if let Some(world) = self.module.world() {
            host.give_world(world.state(&self.module.manifest().name));
        }
        let mut store = Store::new(self.engine.wasmtime(), host);
        // Instantiation runs compiled code too, and is not to be charged to the last call of an earlier instance.
        store.data_mut().call.begin(Entry::Probe);
        let meter = Meter::of(&self.engine);
        meter.begin(&mut store, Context::Process);
        let begun = match self.instantiate(&mut store) {
            Ok(made) => match store.data_mut().begin_instance(made.space) {
                Ok(host_page) => Ok((made, host_page)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(format!("{error:#}")),
        };
        match begun {
            Ok((Made { entries, rollback, time, filter_time, countdown, inside, .. }, host_page)) => {
                store.data_mut().take_doorbells();
                store.data_mut().call.trace.stack_bytes = self.stack_bytes;
                let begins = rollback.as_ref().is_some_and(|rollback| rollback.begins());
                Ok(Box::new(WasmDriver {
                    time,
                    filter_time,
                    store,
                    entries,
                    host_page,
                    fault: None,
                    rollback,
                    begins,
                    origin: self.origin.clone(),
                    countdown,
                    inside,
                    meter,
                }))
            }
            Err(why) => Err(Box::new(LaunchError { host: store.into_data(), why })),
        }
    }

    fn isolation(&self) -> &'static str {
        self.recoverable.as_ref().map_or("sfi", |recoverable| recoverable.isolation())
    }

    fn rolls_back(&self) -> bool {
        self.recoverable.is_some()
    }

    fn crashes(&self) -> bool {
        self.module.counts()
    }
}
