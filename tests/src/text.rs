//! Drivers as text: a harmless one, into which a test puts its own bodies.

use std::fmt::Write;
use std::mem::offset_of;

use nook_abi::net::NetPage;
use nook_abi::{
    ABI_VERSION, ArgInfo, Class, ENTRIES, ENTRY_PREFIX, HOSTCALLS, HostPage, IMPORT_MODULE, RingHeader, Value,
};
use nook_runtime::{DriverModule, Wasi};

/// Helpers that every driver has; a body may use them, its entry's arguments, and `$page`.
///
/// `$ring(queue)` is a ring's address; `$take(queue)` takes an entry out of a ring from the host and gives its address
/// (0 if there is none); `$put(queue, entry)` puts a copy of an entry into a ring to the host; `$unused(entry)` marks
/// it as not used, and `$received(entry)` as a received frame of 60 bytes; `$times(n)` is true for the first `n` calls
/// of it; `$count(received, sent)` posts counters; `$leave(bar, offset, value)` leaves a doorbell, `$left` says how
/// many are there, and `$leave_many(count)` says that there are as many; `$mailbox` is the mailbox's address, and
/// `$mail(from, bytes)` copies something there; `$spin` never returns, `$recurse` calls itself. Byte 1024 is the start
/// of 64 KiB that nothing else uses.
const HELPERS: &str = r#"
    (memory (export "memory") 2)
    (table $functions 2 funcref)
    (elem (i32.const 0) $spin)
    (type $other (func (param i64) (result i64)))
    (global $page (mut i32) (i32.const 0))
    (global $calls (mut i32) (i32.const 0))
    (func $ring (param $queue i32) (result i32)
        (i32.wrap_i64 (i64.load offset=@RINGS
            (i32.add (global.get $page) (i32.shl (local.get $queue) (i32.const 3))))))
    (func $slot (param $ring i32) (param $index i32) (result i32)
        (i32.add (i32.add (local.get $ring) (i32.const @HEADER))
            (i32.shl (i32.and (local.get $index) (i32.const 255)) (i32.const 4))))
    (func $take (param $queue i32) (result i32) (local $ring i32) (local $at i32)
        (local.set $ring (call $ring (local.get $queue)))
        (local.set $at (i32.load offset=4 (local.get $ring)))
        (if (i32.eq (local.get $at) (i32.load (local.get $ring))) (then (return (i32.const 0))))
        (i32.store offset=4 (local.get $ring) (i32.add (local.get $at) (i32.const 1)))
        (call $slot (local.get $ring) (local.get $at)))
    (func $put (param $queue i32) (param $entry i32) (local $ring i32) (local $at i32)
        (local.set $ring (call $ring (local.get $queue)))
        (local.set $at (i32.load (local.get $ring)))
        (memory.copy (call $slot (local.get $ring) (local.get $at)) (local.get $entry) (i32.const 16))
        (i32.store (local.get $ring) (i32.add (local.get $at) (i32.const 1))))
    (func $unused (param $entry i32) (result i32)
        (i32.store16 offset=12 (local.get $entry) (i32.const 2))
        (local.get $entry))
    (func $received (param $entry i32) (result i32)
        (i32.store16 offset=6 (local.get $entry) (i32.const 3))
        (i32.store offset=8 (local.get $entry) (i32.const 60))
        (local.get $entry))
    (func $times (param $most i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.le_u (global.get $calls) (local.get $most)))
    (func $count (param $received i64) (param $sent i64)
        (i64.store offset=@RX_PACKETS (global.get $page) (local.get $received))
        (i64.store offset=@TX_PACKETS (global.get $page) (local.get $sent))
        (i32.store offset=@WRITTEN (global.get $page)
            (i32.add (i32.load offset=@WRITTEN (global.get $page)) (i32.const 1))))
    (func $leave (param $bar i32) (param $offset i32) (param $value i32) (local $at i32)
        (local.set $at (i32.load offset=@DOORBELL_COUNT (global.get $page)))
        (i64.store offset=@DOORBELLS (i32.add (global.get $page) (i32.shl (local.get $at) (i32.const 3)))
            (i64.or (i64.extend_i32_u (i32.or (i32.shl (local.get $bar) (i32.const 24)) (local.get $offset)))
                (i64.shl (i64.extend_i32_u (local.get $value)) (i64.const 32))))
        (i32.store offset=@DOORBELL_COUNT (global.get $page) (i32.add (local.get $at) (i32.const 1))))
    (func $left (result i32) (i32.load offset=@DOORBELL_COUNT (global.get $page)))
    (func $leave_many (param $count i32)
        (i32.store offset=@DOORBELL_COUNT (global.get $page) (local.get $count)))
    (func $mailbox (result i32) (i32.wrap_i64 (i64.load offset=@MAILBOX (global.get $page))))
    (func $mail (param $from i32) (param $bytes i32)
        (memory.copy (call $mailbox) (local.get $from) (local.get $bytes)))
    (func $dma_on (result i32) (atomic.fence) (call $dma_enable))
    (func $spin (loop $again (br $again)))
    (func $recurse (param $n i64) (result i64)
        (i64.add (call $recurse (i64.add (local.get $n) (i64.const 1))) (local.get $n)))
"#;

/// What the harmless driver does where doing nothing would not be harmless. It turns link, receiver and transmitter on
/// (CTRL.SLU, RCTL.EN and TCTL.EN), with rings that have nothing in them.
const BODIES: [(&str, &str); 2] = [
    (
        "probe",
        "(global.set $page (local.get $host_page))
         (call $net_attach (i64.const 0x563412005452) (i32.const 1500))",
    ),
    (
        "open",
        "(call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (drop (call $irq_enable (i32.const 0)))
         (call $mmio_write32 (i32.const 0) (i32.const 0) (i32.const 0x40))
         (call $mmio_write32 (i32.const 0) (i32.const 0x100) (i32.const 2))
         (call $mmio_write32 (i32.const 0) (i32.const 0x400) (i32.const 2))
         (call $dma_on)",
    ),
];

/// Returns the harmless driver with these bodies (entry, body) in place of its usual ones, and with functions and data
/// besides. Its manifest asks for what the e1000 driver's asks for, so that this driver can follow on the same host.
///
/// # Panics
/// If the text is no driver.
pub fn wat_driver(bodies: &[(&str, &str)], extra: &str) -> DriverModule {
    let text = text(bodies, extra);
    let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    DriverModule::from_bytes(&wasm, Wasi::Refused).unwrap_or_else(|error| panic!("{error}"))
}

fn text(bodies: &[(&str, &str)], extra: &str) -> String {
    let class = offset_of!(HostPage, class);
    let helpers = HELPERS
        .replace("@RINGS", &(class + offset_of!(NetPage, rings)).to_string())
        .replace("@RX_PACKETS", &(class + offset_of!(NetPage, stats.rx_packets)).to_string())
        .replace("@TX_PACKETS", &(class + offset_of!(NetPage, stats.tx_packets)).to_string())
        .replace("@DOORBELL_COUNT", &offset_of!(HostPage, doorbell_count).to_string())
        .replace("@DOORBELLS", &offset_of!(HostPage, doorbells).to_string())
        .replace("@MAILBOX", &offset_of!(HostPage, mailbox_addr).to_string())
        .replace("@WRITTEN", &offset_of!(HostPage, stats_written).to_string())
        .replace("@HEADER", &size_of::<RingHeader>().to_string());
    let bodies: Vec<_> = bodies.iter().chain(&BODIES).copied().collect();
    module(Class::Net, &(helpers + extra), &bodies, &e1000_wasm::MANIFEST.replace("name = e1000", "name = odd"))
}

/// Returns a driver of this class with these helpers and entries' bodies: the first of each name, or nothing. It drives
/// the device with these PCI ids by the register map of this name, and has 4 KiB of DMA memory.
///
/// # Panics
/// If the text is no driver.
pub fn wat_class_driver(
    class: Class,
    helpers: &str,
    bodies: &[(&str, &str)],
    pci: &str,
    registers: &str,
) -> DriverModule {
    let (major, minor) = ABI_VERSION;
    let manifest = format!(
        "abi = {major}.{minor}\nname = odd\nversion = 1\nlicense = Apache-2.0\nclass = {class}\npci = {pci}\nregisters = \
         {registers}\ndma_bytes = 4096\ndma_mask_bits = 64\n"
    );
    let wasm = wat::parse_str(module(class, helpers, bodies, &manifest)).unwrap_or_else(|error| panic!("{error}"));
    DriverModule::from_bytes(&wasm, Wasi::Refused).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the text of a module of this class, which imports every hostcall and exports every entry that a driver of
/// the class has: with the first body of its name, or nothing.
pub(crate) fn module(class: Class, helpers: &str, bodies: &[(&str, &str)], manifest: &str) -> String {
    let mut text = String::from("(module\n");
    for row in HOSTCALLS.iter().filter(|row| row.class.is_none_or(|it| it == class)) {
        let (params, result) = signature(row.args, row.result);
        let name = row.name;
        writeln!(text, "(import \"{IMPORT_MODULE}\" \"{name}\" (func ${name} {params} {result}))").expect("a string");
    }
    text += helpers;
    for row in ENTRIES.iter().filter(|row| row.class.is_none_or(|it| it == class)) {
        let (params, result) = signature(row.args, row.result);
        let own = bodies.iter().find(|(entry, _)| *entry == row.name);
        let body = match (own, row.result) {
            (Some((_, body)), _) => body,
            (None, Value::Unit) => "",
            (None, _) => "(i32.const 0)",
        };
        writeln!(text, "(func (export \"{ENTRY_PREFIX}{}\") {params} {result} {body})", row.name).expect("a string");
    }
    let manifest = manifest.escape_default().to_string();
    text + "(@custom \"nook.manifest\" \"" + &manifest + "\"))"
}

/// Returns a row of the tables as WebAssembly text: its parameters, by name, and its result.
fn signature(args: &[ArgInfo], result: Value) -> (String, String) {
    let wasm = |value| match value {
        Value::U64 | Value::I64 => "i64",
        _ => "i32",
    };
    let params = args.iter().map(|arg| format!("(param ${} {})", arg.name, wasm(arg.value))).collect();
    let result = match result {
        Value::Unit => String::new(),
        value => format!("(result {})", wasm(value)),
    };
    (params, result)
}
