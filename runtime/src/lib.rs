//! The host of one nook: it loads a driver, gives it a memory and a device, checks everything that passes between
//! them, and calls it.
//!
//! It is not a policy (what to do after a fault is `recovery`'s business, and isolation holds without it), knows no
//! chip and no descriptor format, and opens no device and nothing above one: those are given to it as
//! [`PciDevice`](nook_bus::PciDevice) and as a [`Class`]. Its callers are `nook-run`, `recovery`, the tests and, for
//! drivers that are not wasm, the crates in `isolation/`.
//!
//! Where to start reading: [`DriverModule::load`] (what is checked before anything runs), [`Host`] (the services and
//! their checks), [`WasmDriver`] (the way into a wasm driver), [`Nook`] (the loop that ties device, driver and
//! interface together).
#![deny(unsafe_code)]

mod address_space;
mod atomics;
mod bare_layout;
mod bars;
mod block;
mod budget;
mod builder;
mod cache;
mod call;
mod call_trace;
mod class;
mod clock;
mod countdown;
mod counters;
mod crash;
mod device;
mod direct;
mod dma;
mod doorbells;
mod driver;
mod driver_log;
mod due_calls;
mod engine;
mod finish;
mod glue;
mod host;
mod image;
mod isa;
mod layout;
mod limits;
mod load;
mod loop_monitor;
mod machine_code;
mod memory;
mod meter;
mod misc;
mod net;
mod nook;
#[cfg(test)]
mod numbers;
mod origin;
mod outcome;
mod per_second;
mod policy;
mod reach;
mod record;
mod remote;
mod revoke;
mod ring;
mod rollback;
mod serial;
mod serve;
mod services;
mod shadow_stack;
mod snapshot;
mod space;
mod survey;
mod time_cell;
mod transaction;
mod virtual_time;
mod wait;
mod wasm;
mod watch;
mod world;

pub use bars::UncheckedBars;
pub use block::{Block, BlockCounters, DiskChoice};
pub use budget::{Budgets, SHORT_CALLS, TICK_NS};
pub use builder::NookBuilder;
pub use cache::{Compiler, ModuleCache, check_private_directory};
pub use call_trace::{Call, CallSink, Caller, CrashState, Life, MemoryDump, Page, TracedCall};
pub use class::{Bisect, CallOutcome, Class};
pub use clock::now_ns;
pub use counters::{Counters, Named};
pub use crash::CrashWhen;
pub use device::choose_iova;
pub use direct::Mmio;
pub use driver::{Driver, Ended, LaunchError, Launcher, RolledBack};
pub use driver_log::DriverLog;
pub use engine::{CodeGen, Engine, EngineError};
pub use host::{Host, HostError};
pub use image::Image;
pub use isa::target_description;
pub use layout::Layout;
pub use load::{DriverModule, LoadError, OwnedManifest, Wasi, parse_manifest};
pub use machine_code::{FIXED_TARGET, MachineCode, machine_code};
pub use misc::{Answer, AskError, Failure, Misc, MiscCounters, OperationInfo};
pub use net::FilterModule;
pub use net::{Interface, Net, NetCounters, NetImage, Settings, pool_of};
pub use nook::{NoRollback, Nook, RolledBackCall, SnapshotAttempt};
pub use nook_bus::{Irreversible, LastValue, RegisterName};
pub use nook_instrument::OffsetMap;
pub use nook_instrument::check::CheckError;
pub use outcome::{NookError, Turn};
pub use per_second::PerSecond;
pub use policy::RegisterPolicy;
pub use record::{
    Bytes, Difference, Faulted, Found, GlobalValue, HowLeft, RecordSink, Recorded, ReplayError, Replayed, Stopped,
    replay,
};
pub use revoke::Revoker;
pub use rollback::{CorruptLog, InstanceRollback, LogRolledBack, Pages, Prepared, Rollback, RollbackMethod, UndoLog};
pub use serial::{Serial, SerialCounters, SerialPort};
pub use services::Services;
pub use snapshot::Snapshot;
pub use space::{RegionAddrs, Space};
pub use wasm::{WasmDriver, WasmLauncher};
pub use world::World;
