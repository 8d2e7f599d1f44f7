//! Traps on request: they come before every instruction, and whatever they interrupt is byte for byte as before, but
//! for declared scratch.

use std::collections::HashSet;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use e1000_model::{Model, ModelConfig};
use nook_abi::net::{Queue, QueueEntry};
use nook_abi::{Entry, Fault, HOST_PAGE_BYTES, QUEUE_CAPACITY, RingHeader, TrapKind};
use nook_bus::DmaWindow;
use nook_runtime::{
    Budgets, CheckError, CrashWhen, DriverModule, Host, InstanceRollback, Launcher, Layout, Mmio, ModuleCache, Nook,
    NookError, Prepared, Rollback, RollbackMethod, RolledBack, Wasi, WasmLauncher, now_ns,
};
use nook_tests::{Device, FrameQueues, Rig, cable, driver_file, e1000_module, frame, host, wat_driver};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{CodeSection, Function, Instruction, MemArg, Module, RawSection, ValType};
use wasmparser::{ExternalKind, KnownCustom, Name, Operator, Parser, Payload, TypeRef};
use wasmtime::{Func, Instance, Memory, Store, Val};

/// Straight-line code, a loop of three rounds, and calls both ways; and a frame that is sent, so that each call is
/// worth it.
const POLL: &str = "(local $i i32)
    (i32.store (i32.const 1024) (call $direct (local.get $budget)))
    (loop $again
        (i32.store8 offset=1032 (local.get $i) (i32.const 7))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 3))))
    (drop (call_indirect $functions (type $other) (i64.const 5) (i32.const 1)))
    (call $put (i32.const 3) (call $take (i32.const 2)))
    (i32.const 0)";
const FUNCTIONS: &str = "
    (func $direct (param $n i32) (result i32) (i32.add (local.get $n) (i32.const 1)))
    (func $through (param $n i64) (result i64) (i64.mul (local.get $n) (i64.const 3)))
    (elem (i32.const 1) $through)";

/// Returns where the instructions of `poll` and of what is called [`FUNCTIONS`] are in the module, but for the first of
/// `poll`.
fn places(wasm: &[u8]) -> HashSet<u64> {
    let (mut imported, mut poll, mut others, mut bodies) = (0, None, Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => imported = section.count(),
            Payload::ExportSection(section) => {
                let mut exports = section.into_iter().map(Result::unwrap);
                poll = exports.find(|it| it.name == "nook_poll" && it.kind == ExternalKind::Func).map(|it| it.index);
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(names) = section.as_known() else { continue };
                for name in names {
                    let Name::Function(map) = name.unwrap() else { continue };
                    let named = map.into_iter().map(Result::unwrap);
                    others = named.filter(|it| matches!(it.name, "direct" | "through")).map(|it| it.index).collect();
                }
            }
            _ => {}
        }
    }
    assert_eq!(others.len(), 2, "the module has names");
    let poll = poll.unwrap();
    let offsets = |function: u32| {
        let body = &bodies[(function - imported) as usize];
        let operators = body.get_operators_reader().unwrap().into_iter_with_offsets();
        operators.map(|operator| operator.unwrap().1 as u64).collect::<Vec<_>>()
    };
    offsets(poll).into_iter().skip(1).chain(others.into_iter().flat_map(offsets)).collect()
}

/// Ends calls of the small driver until each of its instructions was the one.
fn every_instruction_is_hit(launcher: impl Launcher + 'static, module: &DriverModule) {
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let (near, _far) = cable();
    let model = Model::new(ModelConfig::default(), Box::new(near));
    let mut nook = Nook::net(
        host(Box::new(model), window, module, Budgets::default()),
        Box::new(launcher),
        FrameQueues::default(),
    );
    nook.start().unwrap();
    assert!(nook.crash(CrashWhen::Every(1), 7));
    let mut missing = places(module.laid_out());
    let all = missing.clone();
    let mut elsewhere = HashSet::new();
    for _ in 0..20_000 {
        let error = loop {
            nook.backend_mut().to_send.push_back(frame(1, 60));
            if let Err(error) = nook.turn(now_ns()) {
                break error;
            }
        };
        let injected = Fault::Trap { entry: Entry::Poll, kind: TrapKind::Injected };
        assert!(matches!(error, NookError::Fault { fault, .. } if fault == injected), "{error}");
        let place = nook.place_of_fault().expect("its code was running");
        if !all.contains(&place) {
            elsewhere.insert(place);
        }
        missing.remove(&place);
        if missing.is_empty() {
            assert!(elsewhere.len() > 10, "what it calls is ended too: {elsewhere:?}");
            return;
        }
        if nook.roll_back(&error).is_none() {
            nook.restart().unwrap();
        }
    }
    panic!("no call was ended at {missing:x?}");
}

#[test]
fn every_instruction_can_be_the_one_with_a_log_and_without() {
    let module = wat_driver(&[("poll", POLL)], FUNCTIONS).counting();
    let cache = ModuleCache::none();
    every_instruction_is_hit(
        WasmLauncher::with_rollback(&module, &cache, Arc::new(RollbackMethod::Log)).unwrap(),
        &module,
    );
    every_instruction_is_hit(WasmLauncher::new(module.clone().into(), &cache, Mmio::Emulated).unwrap(), &module);
}

#[test]
fn a_driver_that_was_not_made_to_count_says_that_its_calls_cannot_be_ended() {
    let module = e1000_module();
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut rig = Rig::with(&Device::Model(ModelConfig::default()), Box::new(launcher));
    assert!(!rig.nook.crash(CrashWhen::Every(1), 1));
}

/// What was found out about rollbacks.
#[derive(Default)]
struct Tally {
    compared: usize,
    /// Bytes that had changed in a call, in all.
    changed: usize,
    /// Bytes of declared scratch that had changed when a call had been rolled back, in all.
    scratch: usize,
    /// The same, of descriptors and what the driver keeps beside them.
    slots: usize,
    /// Where the driver keeps a packet beside each descriptor, as far as it was found.
    kept: [Option<usize>; 2],
    problems: Vec<String>,
}

/// The log, and beside it a plain copy of everything, with which it is compared after each rollback.
struct Compared(Arc<Mutex<Tally>>);

impl Rollback for Compared {
    fn isolation(&self) -> &'static str {
        RollbackMethod::Log.isolation()
    }

    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String> {
        RollbackMethod::Log.prepare(module)
    }

    fn check(&self, module: &DriverModule, wasm: &[u8]) -> Result<(), CheckError> {
        RollbackMethod::Log.check(module, wasm)
    }

    fn keeps_time(&self) -> bool {
        RollbackMethod::Log.keeps_time()
    }

    fn attach(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        ask: Func,
    ) -> wasmtime::Result<Box<dyn InstanceRollback>> {
        let log = RollbackMethod::Log.attach(store, instance, ask)?;
        let memory = instance.get_memory(&mut *store, "memory").expect("drivers export it");
        Ok(Box::new(Both { log, memory, before: None, tally: self.0.clone() }))
    }
}

struct Both {
    log: Box<dyn InstanceRollback>,
    memory: Memory,
    before: Option<(Vec<u8>, Vec<String>)>,
    tally: Arc<Mutex<Tally>>,
}

impl Both {
    /// Memory from the stack pointer on, without what the host writes into its own page, and the globals.
    fn state(&mut self, store: &mut Store<Host>) -> (Vec<u8>, Vec<String>) {
        let globals = self.log.globals(store);
        let Layout { host_page, .. } = *store.data().layout();
        let stack_pointer = globals[0].unwrap_i32().cast_unsigned() as usize;
        let mut memory = self.memory.data(&*store).to_vec();
        assert!((1..=1 << 20).contains(&stack_pointer), "the first global is the stack pointer");
        memory[..stack_pointer].fill(0);
        memory[host_page as usize..][..HOST_PAGE_BYTES].fill(0);
        (memory, globals.iter().map(|value| format!("{value:?}")).collect())
    }
}

/// Returns where declared scratch is: the entries of the queues to the host that are not between their counters.
fn scratch(memory: &[u8], layout: &Layout) -> impl Iterator<Item = Range<usize>> {
    let word = |at: usize| u32::from_le_bytes(memory[at..at + 4].try_into().expect("four bytes"));
    let queues = [Queue::RxReturn, Queue::TxReturn].map(|queue| {
        let ring = layout.rings[queue as usize] as usize;
        let produced = word(ring + offset_of!(RingHeader, produced));
        let free = QUEUE_CAPACITY - produced.wrapping_sub(word(ring + offset_of!(RingHeader, consumed)));
        (ring + size_of::<RingHeader>(), produced, free)
    });
    queues.into_iter().flat_map(|(entries, produced, free)| {
        (0..free).map(move |number| {
            let place = (produced.wrapping_add(number) % QUEUE_CAPACITY) as usize;
            let entry = entries + place * size_of::<QueueEntry>();
            entry..entry + size_of::<QueueEntry>()
        })
    })
}

/// The e1000 driver's rings in the window, and the queues from which and to which they lead.
const RINGS: [(usize, Queue, Queue); 2] =
    [(0, Queue::RxProvide, Queue::RxReturn), (SLOTS * SLOT_BYTES, Queue::TxProvide, Queue::TxReturn)];
const SLOTS: usize = 512;
const SLOT_BYTES: usize = 16;

/// Returns how many packets went into the driver's ring, and how many came out of it: it refuses none.
fn counters(memory: &[u8], layout: &Layout, provide: Queue, back: Queue) -> (u32, u32) {
    let word = |queue: Queue, offset: usize| {
        let at = layout.rings[queue as usize] as usize + offset;
        u32::from_le_bytes(memory[at..at + 4].try_into().expect("four bytes"))
    };
    (word(provide, offset_of!(RingHeader, consumed)), word(back, offset_of!(RingHeader, produced)))
}

/// Looks where the driver keeps packets beside its descriptors: the last one that it returned is kept there still.
fn find_kept(memory: &[u8], layout: &Layout) -> [Option<usize>; 2] {
    const BUFFER: u64 = (1 << QueueEntry::FLAGS_SHIFT) - 1;
    let word = |at: usize| u64::from_le_bytes(memory[at..at + 8].try_into().expect("eight bytes")) & BUFFER;
    RINGS.map(|(_, provide, back)| {
        let last = counters(memory, layout, provide, back).1.checked_sub(1)?;
        let place = (last % QUEUE_CAPACITY) as usize * size_of::<QueueEntry>();
        let buffer = word(layout.rings[back as usize] as usize + size_of::<RingHeader>() + place);
        // Not a buffer that zeroes are taken for.
        let mut private = (0..layout.host_page as usize).step_by(8).filter(|&at| buffer != 0 && word(at) == buffer);
        let found = private.next()?.checked_sub(last as usize % SLOTS * SLOT_BYTES)?;
        private.next().is_none().then_some(found)
    })
}

/// Returns where declared scratch of the driver's rings is: descriptors that are free, and what is kept beside them.
fn free_slots(memory: &[u8], layout: &Layout, kept: &[Option<usize>; 2]) -> Vec<Range<usize>> {
    let ring = |((at, provide, back), kept): ((usize, Queue, Queue), Option<usize>)| {
        let (filled, reaped) = counters(memory, layout, provide, back);
        let free = filled..reaped.wrapping_add(SLOTS as u32);
        let places = free.map(|number| number as usize % SLOTS * SLOT_BYTES);
        let (ring, kept) = (layout.window as usize + at, kept.expect("packets were returned before"));
        places.flat_map(move |place| [ring + place, kept + place]).map(|at| at..at + SLOT_BYTES)
    };
    RINGS.into_iter().zip(*kept).flat_map(ring).collect()
}

impl InstanceRollback for Both {
    fn begins(&self) -> bool {
        true
    }

    fn begin(&mut self, store: &mut Store<Host>) {
        let before = self.state(store);
        let kept = &mut self.tally.lock().unwrap().kept;
        if kept.contains(&None) {
            let found = find_kept(&before.0, store.data().layout());
            kept.iter_mut().zip(found).for_each(|(kept, found)| *kept = kept.or(found));
        }
        self.before = Some(before);
    }

    fn roll_back(&mut self, store: &mut Store<Host>, returned: bool) -> wasmtime::Result<RolledBack> {
        let (ended, _) = self.state(store);
        let done = self.log.roll_back(store, returned)?;
        let (mut memory, globals) = self.state(store);
        let (mut memory_before, globals_before) = self.before.take().expect("a call had begun");
        let mut tally = self.tally.lock().unwrap();
        tally.compared += 1;
        for range in scratch(&memory_before.clone(), store.data().layout()) {
            tally.scratch +=
                memory[range.clone()].iter().zip(&memory_before[range.clone()]).filter(|(a, b)| a != b).count();
            memory[range.clone()].fill(0);
            memory_before[range].fill(0);
        }
        for range in free_slots(&memory_before.clone(), store.data().layout(), &tally.kept.clone()) {
            tally.slots +=
                memory[range.clone()].iter().zip(&memory_before[range.clone()]).filter(|(a, b)| a != b).count();
            memory[range.clone()].fill(0);
            memory_before[range].fill(0);
        }
        tally.changed += ended.iter().zip(&memory_before).filter(|(now, before)| now != before).count();
        if let Some(at) = memory.iter().zip(&memory_before).position(|(now, before)| now != before) {
            tally.problems.push(format!("memory at {at:#x}"));
        }
        if globals != globals_before {
            tally.problems.push(format!("globals {globals:?}, {globals_before:?} before"));
        }
        Ok(done)
    }

    fn globals(&mut self, store: &mut Store<Host>) -> Vec<Val> {
        self.log.globals(store)
    }

    fn restore_globals(&mut self, store: &mut Store<Host>, globals: &[Val]) -> wasmtime::Result<()> {
        self.log.restore_globals(store, globals)
    }

    fn is_full(&mut self, store: &mut Store<Host>) -> bool {
        self.log.is_full(store)
    }

    fn time_cell(&self) -> Option<(Memory, u32)> {
        self.log.time_cell()
    }
}

/// Cuts calls of the e1000 driver off anywhere, until that many have been or one was not undone. Says at how many
/// places.
fn cut_off(module: &DriverModule, faults: usize) -> (Tally, usize) {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let way = Arc::new(Compared(tally.clone()));
    let launcher = WasmLauncher::with_rollback(&module.counting(), &ModuleCache::none(), way).unwrap();
    let mut rig = Rig::up_with(&Device::Model(ModelConfig::default()), Box::new(launcher));
    // Until it is known where the driver keeps packets: those of whole frames that came and went.
    for number in 0.. {
        if !tally.lock().unwrap().kept.contains(&None) {
            break;
        }
        assert!(number < 1000, "the driver keeps packets beside its descriptors");
        rig.nook.backend_mut().to_send.push_back(frame(number, 60));
        let _ = rig.far.send(&frame(number, 60));
        rig.turn().unwrap();
    }
    assert!(rig.nook.crash(CrashWhen::Every(1), 11));
    let (mut places, mut number) = (HashSet::new(), 0);
    let goes_on = || {
        let tally = tally.lock().unwrap();
        tally.compared < faults && tally.problems.is_empty()
    };
    while goes_on() {
        // A few frames each way at a time: some calls have little to do, and some much.
        if rig.nook.backend().to_send.is_empty() {
            for _ in 0..1 + number % 40 {
                number += 1;
                rig.nook.backend_mut().to_send.push_back(frame(number, 60 + number as usize % 1400));
                let _ = rig.far.send(&frame(number, 60));
            }
        }
        let Err(error) = rig.turn() else { continue };
        places.insert(rig.nook.place_of_fault().expect("its code was running"));
        if rig.nook.roll_back(&error).is_none() {
            rig.nook.restart().unwrap();
        }
    }
    (std::mem::take(&mut *tally.lock().unwrap()), places.len())
}

#[test]
fn after_a_trap_anywhere_in_the_e1000_driver_everything_but_declared_scratch_is_byte_for_byte_as_before() {
    const FAULTS: usize = 300;
    let (tally, places) = cut_off(&e1000_module(), FAULTS);
    assert_eq!(tally.problems, [""; 0]);
    assert!(places > FAULTS / 4, "{} faults came at {places} places only", tally.compared);
    assert!(tally.changed > 10 * FAULTS, "hardly anything had changed: {} bytes", tally.changed);
    assert!(tally.slots > FAULTS, "hardly any descriptor had been written: {} bytes", tally.slots);
    assert!(tally.scratch > FAULTS, "hardly any scratch had been written: {} bytes", tally.scratch);
}

/// The parameters of `poll`.
const PARAMETERS: u32 = 3;

/// Returns the e1000 driver with a store of four bytes in `poll`, the one with this number, declared as scratch.
fn with_live_store_declared(number: usize) -> Option<DriverModule> {
    let wasm = std::fs::read(driver_file("e1000")).expect("`cargo xtask drivers` makes it");
    let (mut imported, mut hint, mut poll, mut seen) = (0, None, None, 0);
    let (mut code, mut found) = (CodeSection::new(), false);
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports().map(Result::unwrap) {
                    if matches!(import.ty, TypeRef::Func(_)) {
                        hint = if import.name == "store64" { Some(imported) } else { hint };
                        imported += 1;
                    }
                }
            }
            Payload::ExportSection(exports) => {
                let named = exports.into_iter().map(Result::unwrap).find(|export| export.name == "nook_poll");
                poll = named.map(|export| export.index);
            }
            Payload::CodeSectionEntry(body) => {
                let of_poll = Some(imported + code.len()) == poll;
                let mut operators = body.get_operators_reader().unwrap();
                let (begins, ends) = (operators.original_position(), body.range().end);
                let mut place = None;
                while of_poll && !operators.eof() {
                    let from = operators.original_position();
                    let Operator::I32Store { memarg } = operators.read().unwrap() else { continue };
                    if seen == number {
                        place = Some((from, operators.original_position(), memarg.offset));
                    }
                    seen += 1;
                }
                let Some((from, to, offset)) = place else {
                    code.raw(&wasm[body.range()]);
                    continue;
                };
                found = true;
                let mut locals: Vec<(u32, ValType)> = Vec::new();
                for of_type in body.get_locals_reader().unwrap() {
                    let (count, ty) = of_type.unwrap();
                    locals.push((count, RoundtripReencoder.val_type(ty).unwrap()));
                }
                let address = PARAMETERS + locals.iter().map(|(count, _)| count).sum::<u32>();
                let value = address + 1;
                locals.push((2, ValType::I32));
                let mut function = Function::new(locals);
                function.raw(wasm[begins..from].iter().copied());
                // Eight bytes, of which four stay as they are.
                let behind = MemArg { offset: offset + 4, align: 0, memory_index: 0 };
                for instruction in [
                    Instruction::LocalSet(value),
                    Instruction::LocalTee(address),
                    Instruction::LocalGet(value),
                    Instruction::I64ExtendI32U,
                    Instruction::LocalGet(address),
                    Instruction::I64Load32U(behind),
                    Instruction::I64Const(32),
                    Instruction::I64Shl,
                    Instruction::I64Or,
                    Instruction::I32Const(offset as i32),
                    Instruction::Call(hint.expect("it uses hints")),
                ] {
                    function.instruction(&instruction);
                }
                function.raw(wasm[to..ends].iter().copied());
                code.function(&function);
            }
            _ => {}
        }
    }
    found.then(|| DriverModule::from_bytes(&with_code(&wasm, &code), Wasi::Refused).unwrap())
}

/// Returns the module with other code.
fn with_code(wasm: &[u8], code: &CodeSection) -> Vec<u8> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::CodeSectionStart { .. } => {
                module.section(code);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    module.finish()
}

/// The checker of stores accepts it, because what a driver declares is its own to say.
#[test]
fn a_live_store_that_is_declared_as_scratch_is_left_by_a_rollback_and_noticed() {
    for number in 0.. {
        let Some(module) = with_live_store_declared(number) else { break };
        let (tally, _) = cut_off(&module, 40);
        println!("store {number}: {:?} in {} calls", tally.problems, tally.compared);
        if !tally.problems.is_empty() {
            return;
        }
    }
    panic!("whatever store is declared goes unnoticed");
}
