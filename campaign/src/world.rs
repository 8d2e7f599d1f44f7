//! What a module with mistakes imports: which mistake is made now, and that it was made.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nook_runtime::{Host, World};
use nook_seed::Rng;
use wasmtime::{Caller, Linker};

/// The wasm module name of the functions.
pub(crate) const MODULE: &str = "nook_fault";
pub(crate) const SELECT: &str = "select";
pub(crate) const HIT: &str = "hit";
/// What a driver exports its memory as.
const MEMORY: &str = "memory";

/// No time at all.
pub const NEVER: u64 = u64::MAX;

/// One fault of one trial: when it begins, and how often it was there. Shared by what makes it and the trial; all of a
/// trial is on one thread.
#[derive(Debug)]
pub struct Injection {
    begin_ns: AtomicU64,
    hits: AtomicU64,
    first_hit_ns: AtomicU64,
    launches: AtomicU32,
    /// Only the first instance has it.
    pub transient: bool,
    /// Which mistake of the module's is made; 0 is none.
    pub slot: u32,
    /// A bit of the driver's memory turns round, drawn from this.
    pub flip: Option<u64>,
}

impl Injection {
    /// Creates it; it does not begin yet.
    pub fn new(transient: bool, slot: u32, flip: Option<u64>) -> Arc<Self> {
        Arc::new(Injection {
            begin_ns: AtomicU64::new(NEVER),
            hits: AtomicU64::new(0),
            first_hit_ns: AtomicU64::new(NEVER),
            launches: AtomicU32::new(0),
            transient,
            slot,
            flip,
        })
    }

    /// Makes it begin at this time of the nook's clock.
    pub fn begin_at(&self, ns: u64) {
        self.begin_ns.store(ns, Ordering::Relaxed);
    }

    /// Returns when it begins.
    pub fn begins_at(&self) -> u64 {
        self.begin_ns.load(Ordering::Relaxed)
    }

    /// Returns whether it is there now.
    pub fn is_active(&self, now_ns: u64) -> bool {
        now_ns >= self.begins_at() && !(self.transient && self.launches.load(Ordering::Relaxed) > 1)
    }

    /// Notes that it was there and changed something.
    pub fn hit(&self, now_ns: u64) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.first_hit_ns.fetch_min(now_ns, Ordering::Relaxed);
    }

    /// Notes that it is there, of what cannot say when.
    pub fn reached(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often it was.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns when it was first, if ever.
    pub fn first_hit_ns(&self) -> Option<u64> {
        Some(self.first_hit_ns.load(Ordering::Relaxed)).filter(|ns| *ns != NEVER)
    }

    /// Notes that another instance of the driver begins.
    pub fn launched(&self) {
        self.launches.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// What the next instances of this thread find.
    static CURRENT: RefCell<Option<Arc<Injection>>> = const { RefCell::new(None) };
}

/// Runs `trial`; drivers with mistakes that it launches on this thread get this one.
pub fn with_injection<R>(injection: &Arc<Injection>, trial: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(Some(injection.clone()));
    let outcome = trial();
    CURRENT.set(before);
    outcome
}

/// The world of modules with mistakes.
#[derive(Clone, Copy, Debug)]
pub struct FaultWorld;

impl World for FaultWorld {
    fn module(&self) -> &'static str {
        MODULE
    }

    /// Only as a fault does, which nothing puts back.
    fn writes_memory(&self) -> bool {
        false
    }

    fn functions(&self) -> &'static [&'static str] {
        &[SELECT, HIT]
    }

    fn link(&self, linker: &mut Linker<Host>) -> wasmtime::Result<()> {
        linker.func_wrap(MODULE, SELECT, |mut caller: Caller<'_, Host>| select(&mut caller))?;
        linker.func_wrap(MODULE, HIT, |mut caller: Caller<'_, Host>| hit(&mut caller))?;
        Ok(())
    }

    fn state(&self, _: &str) -> Box<dyn Any + Send> {
        let injection = CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| Injection::new(false, 0, None));
        injection.launched();
        Box::new(injection)
    }
}

fn injection(caller: &mut Caller<'_, Host>) -> Option<(Arc<Injection>, u64)> {
    let now_ns = caller.data().clock().now_ns();
    let injection = caller.data_mut().world()?.downcast_ref::<Arc<Injection>>()?.clone();
    Some((injection, now_ns))
}

fn select(caller: &mut Caller<'_, Host>) -> u32 {
    let Some((injection, now_ns)) = injection(caller) else { return 0 };
    if !injection.is_active(now_ns) {
        return 0;
    }
    if let Some(seed) = injection.flip
        && injection.hits() == 0
        && flip(caller, seed).is_some()
    {
        injection.hit(now_ns);
    }
    injection.slot
}

fn hit(caller: &mut Caller<'_, Host>) {
    if let Some((injection, now_ns)) = injection(caller) {
        injection.hit(now_ns);
    }
}

/// Turns a bit of the driver's memory round: of its data and stack, of the rest of its private memory, or of the
/// window, each as often as the others.
fn flip(caller: &mut Caller<'_, Host>, seed: u64) -> Option<()> {
    let mut rng = Rng::new(seed);
    let memory = caller.get_export(MEMORY)?.into_memory()?;
    let layout = *caller.data().layout();
    let all = memory.data_size(&*caller) as u64;
    let (from, to) = match rng.below(3) {
        0 => (0, layout.own_bytes),
        1 => (layout.own_bytes, layout.window),
        _ => (layout.window, all),
    };
    let at = usize::try_from(from + rng.below(to.saturating_sub(from))).ok()?;
    let mut byte = [0];
    memory.read(&*caller, at, &mut byte).ok()?;
    byte[0] ^= 1 << rng.below(8);
    memory.write(&mut *caller, at, &byte).ok()
}
