//! What a recording module says: each kind of access gives what the host has for it, and says what it stored.

use std::collections::HashSet;

use wasmtime::{Caller, Config, Engine, Extern, Func, Instance, Memory, Module, Ref, Store};

use crate::{BORDER_EXPORT, Border, LoadKind, with_recording};

/// From here on memory is shared.
const SHARED: usize = 0x1000;
/// What is used of it: the address that the accesses get.
const PLACE: usize = 0x2000;
const MEMORY: usize = 0x1_0000;

/// Expressions that give an `i64`, at an address in `$p`.
fn loads() -> Vec<String> {
    let mut loads: Vec<String> = Vec::new();
    let narrow =
        ["load", "load8_s", "load8_u", "load16_s", "load16_u", "atomic.load", "atomic.load8_u", "atomic.load16_u"];
    loads.extend(narrow.iter().map(|op| format!("(i64.extend_i32_s (i32.{op} offset=8 (local.get $p)))")));
    let wide = ["load32_s", "load32_u", "atomic.load32_u"].iter().chain(&narrow);
    loads.extend(wide.map(|op| format!("(i64.{op} offset=8 (local.get $p))")));
    loads.push("(i64.extend_i32_u (i32.reinterpret_f32 (f32.load offset=4 (local.get $p))))".into());
    loads.push("(i64.reinterpret_f64 (f64.load (local.get $p)))".into());
    let sum = |vector: String| {
        format!("(i64.add (i64x2.extract_lane 0 {vector}) (i64.mul (i64.const 3) (i64x2.extract_lane 1 {vector})))")
    };
    let vectors = [
        "load",
        "load8x8_s",
        "load8x8_u",
        "load16x4_s",
        "load16x4_u",
        "load32x2_s",
        "load32x2_u",
        "load8_splat",
        "load16_splat",
        "load32_splat",
        "load64_splat",
        "load32_zero",
        "load64_zero",
    ];
    loads.extend(vectors.iter().map(|op| sum(format!("(v128.{op} offset=3 (local.get $p))"))));
    let lanes = [("load8_lane", 13), ("load16_lane", 6), ("load32_lane", 3), ("load64_lane", 1)];
    loads.extend(lanes.iter().map(|(op, lane)| {
        sum(format!("(v128.{op} offset=16 {lane} (local.get $p) (i64x2.splat (i64.const 0x0102030405060708)))"))
    }));
    loads
}

/// Statements at an address in `$p`, for the value in `$v`.
fn stores() -> Vec<String> {
    let mut stores: Vec<String> = Vec::new();
    let narrow = ["store", "store8", "store16", "atomic.store", "atomic.store8", "atomic.store16"];
    stores.extend(narrow.iter().map(|op| format!("(i32.{op} offset=8 (local.get $p) (i32.wrap_i64 (local.get $v)))")));
    let wide = ["store32", "atomic.store32"].iter().chain(&narrow);
    stores.extend(wide.map(|op| format!("(i64.{op} offset=8 (local.get $p) (local.get $v))")));
    stores.push("(f32.store (local.get $p) (f32.reinterpret_i32 (i32.wrap_i64 (local.get $v))))".into());
    stores.push("(f64.store (local.get $p) (f64.reinterpret_i64 (local.get $v)))".into());
    stores.push("(v128.store offset=5 (local.get $p) (i64x2.splat (local.get $v)))".into());
    let lanes = [("store8_lane", 7), ("store16_lane", 3), ("store32_lane", 1), ("store64_lane", 0)];
    stores.extend(
        lanes
            .iter()
            .map(|(op, lane)| format!("(v128.{op} offset=3 {lane} (local.get $p) (i64x2.splat (local.get $v)))")),
    );
    stores.push("(memory.fill (local.get $p) (i32.wrap_i64 (local.get $v)) (i32.const 100))".into());
    // From private memory, of which a part reaches into what is shared.
    stores.push("(memory.copy (i32.const 0xff0) (i32.const 0x100) (i32.const 64))".into());
    stores.push("(memory.init $bytes (local.get $p) (i32.const 1) (i32.const 3))".into());
    stores
}

/// Expressions that load and store.
fn changes() -> Vec<String> {
    let mut changes = Vec::new();
    for (ty, from, widths) in [
        ("i32", "(i32.wrap_i64 (local.get $v))", &["8", "16", ""][..]),
        ("i64", "(local.get $v)", &["8", "16", "32", ""]),
    ] {
        let widened = |text: String| if ty == "i32" { format!("(i64.extend_i32_u {text})") } else { text };
        for width in widths {
            let suffix = if width.is_empty() { "" } else { "_u" };
            for op in ["add", "sub", "and", "or", "xor", "xchg"] {
                let op = format!("{ty}.atomic.rmw{width}.{op}{suffix}");
                changes.push(widened(format!("({op} offset=8 (local.get $p) {from})")));
            }
            let op = format!("{ty}.atomic.rmw{width}.cmpxchg{suffix}");
            changes.push(widened(format!("({op} offset=8 (local.get $p) ({ty}.const 0) {from})")));
            let loads = if width.is_empty() { format!("{ty}.load") } else { format!("{ty}.load{width}_u") };
            // One that finds what it expects.
            changes.push(widened(format!("({op} offset=8 (local.get $p) ({loads} offset=8 (local.get $p)) {from})")));
        }
    }
    let copy = |to: &str, from: &str| {
        format!("(block (result i64) (memory.copy {to} {from} (i32.const 96)) (i64.load offset=88 {to}))")
    };
    changes.push(copy("(i32.const 0x200)", "(local.get $p)"));
    changes.push(copy("(local.get $p)", "(i32.add (local.get $p) (i32.const 256))"));
    changes.push(copy("(i32.add (local.get $p) (i32.const 8))", "(local.get $p)"));
    changes.push(copy("(i32.const 0x200)", "(i32.const 0xfd0)"));
    changes
}

fn module(loads: &[String], stores: &[String]) -> Vec<u8> {
    let mut text = format!("(module (memory (export \"memory\") {})", MEMORY / 65536);
    text += "(data $bytes \"\\01\\02\\03\\04\")";
    for (at, load) in loads.iter().enumerate() {
        text += &format!("(func (export \"l{at}\") (param $p i32) (param $v i64) (result i64) {load})");
    }
    for (at, store) in stores.iter().enumerate() {
        text += &format!("(func (export \"s{at}\") (param $p i32) (param $v i64) {store})");
    }
    wat::parse_str(text + ")").unwrap()
}

/// What a recording module's host sees and gives.
#[derive(Default)]
struct Host {
    /// What shared memory is: what others wrote there, and what the module said that it stored.
    told: Vec<u8>,
    seen: HashSet<u32>,
}

fn memory(caller: &mut Caller<'_, Host>) -> Memory {
    caller.get_export("memory").and_then(Extern::into_memory).unwrap()
}

/// Gives it the functions: what it loads is put into its memory.
fn attach(store: &mut Store<Host>, instance: &Instance) {
    let table = instance.get_table(&mut *store, BORDER_EXPORT).unwrap();
    let loaded = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, _: u64, kind: i32| -> u64 {
        let (kind, addr) = (LoadKind::of(kind), addr as usize);
        let mut word = [0; 8];
        let width = kind.width_bytes as usize;
        word[..width].copy_from_slice(&caller.data().told[addr..addr + width]);
        memory(&mut caller).write(&mut caller, addr, &word[..width]).unwrap();
        caller.data_mut().seen.insert(Border::Loaded as u32);
        kind.extended(u64::from_le_bytes(word))
    });
    let stored = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, value: u64, width: u32| {
        let (addr, width) = (addr as usize, width as usize);
        caller.data_mut().told[addr..addr + width].copy_from_slice(&value.to_le_bytes()[..width]);
    });
    let reads = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, len: u32| {
        let (begin, end) = ((addr as usize).max(SHARED), (addr + len) as usize);
        let bytes = caller.data().told[begin..end].to_vec();
        memory(&mut caller).write(&mut caller, begin, &bytes).unwrap();
        caller.data_mut().seen.insert(Border::Reads as u32);
    });
    let changed = |mut caller: Caller<'_, Host>, addr: u32, len: u32| {
        let (begin, end) = ((addr as usize).max(SHARED), ((addr + len) as usize).max(SHARED));
        let mut bytes = vec![0; end - begin];
        memory(&mut caller).read(&caller, begin, &mut bytes).unwrap();
        caller.data_mut().told[begin..end].copy_from_slice(&bytes);
    };
    let copied =
        Func::wrap(&mut *store, move |caller: Caller<'_, Host>, to: u32, _: u32, len: u32| changed(caller, to, len));
    let changed = Func::wrap(&mut *store, changed);
    for (border, func) in [
        (Border::Loaded, loaded),
        (Border::Stored, stored),
        (Border::Reads, reads),
        (Border::Copied, copied),
        (Border::Changed, changed),
    ] {
        table.set(&mut *store, border as u64, Ref::Func(Some(func))).unwrap();
    }
}

#[test]
fn each_access_gives_what_others_wrote_and_says_what_it_stored() {
    let mut config = Config::new();
    config.wasm_threads(true);
    let engine = Engine::new(&config).unwrap();
    let (loads, stores): (Vec<_>, Vec<_>) = (loads().into_iter().chain(changes()).collect(), stores());
    let wasm = module(&loads, &stores);
    let recording = with_recording(&wasm, SHARED as u32).unwrap();
    let plain = Module::new(&engine, &wasm).unwrap();
    let recording = Module::new(&engine, &recording.wasm).unwrap();
    let names = (0..loads.len()).map(|at| format!("l{at}")).chain((0..stores.len()).map(|at| format!("s{at}")));
    for (name, text) in names.zip(loads.iter().chain(&stores)) {
        let mut rng = nook_seed::Rng::new(7);
        let others: Vec<u8> = (0..MEMORY).map(|_| rng.below(256) as u8).collect();
        let value = 0x8123_4567_89ab_cdef_u64.cast_signed();
        let run = |module: &Module, host: Host, shared: &[u8]| {
            let mut store = Store::new(&engine, host);
            let instance = Instance::new(&mut store, module, &[]).unwrap();
            if instance.get_table(&mut store, BORDER_EXPORT).is_some() {
                attach(&mut store, &instance);
            }
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            memory.write(&mut store, 0, &others[..SHARED]).unwrap();
            memory.write(&mut store, SHARED, shared).unwrap();
            let func = instance.get_func(&mut store, &name).unwrap();
            let mut results = vec![wasmtime::Val::I64(0); usize::from(name.starts_with('l'))];
            let args = [wasmtime::Val::I32(PLACE as i32), wasmtime::Val::I64(value)];
            func.call(&mut store, &args, &mut results).unwrap();
            let result = results.first().and_then(wasmtime::Val::i64);
            (result, memory.data(&store).to_vec(), store.into_data())
        };
        let (expected, real, _) = run(&plain, Host::default(), &others[SHARED..]);
        // Nothing of what others wrote is in its memory until it loads it.
        let zeros = vec![0; MEMORY - SHARED];
        let host = Host { told: others.clone(), ..Host::default() };
        let (found, _, host) = run(&recording, host, &zeros);
        assert_eq!(found, expected, "{text}");
        assert_eq!(host.seen.is_empty(), name.starts_with('s'), "{text}");
        assert!(host.told[SHARED..] == real[SHARED..], "{text}: it does not say what it stores");
    }
}

#[test]
fn what_is_private_is_not_said() {
    let engine = Engine::default();
    let wasm = module(&loads(), &stores());
    let recording = Module::new(&engine, with_recording(&wasm, SHARED as u32).unwrap().wasm).unwrap();
    let mut store = Store::new(&engine, Host::default());
    // Its functions are not there, so that a call of one would trap.
    let instance = Instance::new(&mut store, &recording, &[]).unwrap();
    for (at, text) in loads().iter().enumerate() {
        let func = instance.get_typed_func::<(i32, i64), i64>(&mut store, &format!("l{at}")).unwrap();
        func.call(&mut store, (0x800, 1)).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    }
}
