//! Drivers of a disk as text: one that does nothing with its device, into which a test puts its own bodies.

use std::fmt::Write;
use std::mem::offset_of;

use nook_abi::block::{BlockPage, BlockRequest, Disk};
use nook_abi::{Class, HostPage, RingHeader};
use nook_runtime::{DriverModule, Wasi};
use wasmparser::{Parser, Payload};

use crate::text::module;

/// Helpers that every driver has; a body may use them, its entry's arguments, and `$page`.
///
/// The disk that it says it has is at byte 512, and `$attach` attaches that. `$next` takes a request and gives its
/// address (0 if there is none), `$complete(entry, status)` completes it, `$say(first, second)` puts these two words in
/// as a completion, `$all(status)` completes everything so, and `$reads` reads of the first 64 blocks as done and the
/// rest as failed. `$requests` and `$completions` are the rings' addresses, `$slot(at)` that of a request's place;
/// `$times(n)` is true for the first `n` calls of it. `$saved` is for bodies.
const HELPERS: &str = r#"
    (memory (export "memory") 2)
    (data (i32.const 512) "@DISK")
    (global $page (mut i32) (i32.const 0))
    (global $calls (mut i32) (i32.const 0))
    (global $saved (mut i64) (i64.const 0))
    (func $attach (result i32)
        (memory.copy (i32.wrap_i64 (i64.load offset=@MAILBOX (global.get $page))) (i32.const 512) (i32.const 64))
        (call $block_attach (i32.const 64)))
    (func $requests (result i32) (i32.wrap_i64 (i64.load offset=@REQUESTS (global.get $page))))
    (func $completions (result i32) (i32.wrap_i64 (i64.load offset=@COMPLETIONS (global.get $page))))
    (func $slot (param $at i32) (result i32)
        (i32.add (i32.add (call $requests) (i32.const @HEADER))
            (i32.shl (i32.and (local.get $at) (i32.const 255)) (i32.const 5))))
    (func $next (result i32) (local $at i32)
        (local.set $at (i32.load offset=4 (call $requests)))
        (if (i32.eq (local.get $at) (i32.load (call $requests))) (then (return (i32.const 0))))
        (i32.store offset=4 (call $requests) (i32.add (local.get $at) (i32.const 1)))
        (call $slot (local.get $at)))
    (func $say (param $first i64) (param $second i64) (local $at i32)
        (local.set $at (i32.load (call $completions)))
        (i64.store
            (i32.add (i32.add (call $completions) (i32.const @HEADER))
                (i32.shl (i32.and (local.get $at) (i32.const 255)) (i32.const 4)))
            (local.get $first))
        (i64.store
            (i32.add (i32.add (call $completions) (i32.const @SECOND))
                (i32.shl (i32.and (local.get $at) (i32.const 255)) (i32.const 4)))
            (local.get $second))
        (i32.store (call $completions) (i32.add (local.get $at) (i32.const 1))))
    (func $ticket (param $entry i32) (result i64)
        (i64.and (i64.load (local.get $entry)) (i64.const 0xffffffffffff)))
    (func $complete (param $entry i32) (param $status i32)
        (call $say
            (i64.or (call $ticket (local.get $entry)) (i64.shl (i64.extend_i32_u (local.get $status)) (i64.const 48)))
            (i64.const 0)))
    (func $reads (result i32) (local $entry i32)
        (loop $more
            (local.set $entry (call $next))
            (if (local.get $entry) (then
                (call $complete (local.get $entry)
                    (i32.or (i32.ne (i32.load8_u offset=@OP (local.get $entry)) (i32.const 0))
                        (i64.ge_u (i64.load offset=@FIRST (local.get $entry)) (i64.const 64))))
                (br $more))))
        (i32.const 0))
    (func $all (param $status i32) (result i32) (local $entry i32)
        (loop $more
            (local.set $entry (call $next))
            (if (local.get $entry) (then
                (call $complete (local.get $entry) (local.get $status)) (br $more))))
        (i32.const 0))
    (func $times (param $most i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.le_u (global.get $calls) (local.get $most)))
"#;

/// What the driver does where a test says nothing else: it reads the first 64 blocks, whatever is in the buffer, and
/// all else fails.
const BODIES: [(&str, &str); 2] =
    [("probe", "(global.set $page (local.get $host_page)) (call $attach)"), ("poll", "(call $reads)")];

/// Returns the driver with these bodies (entry, body) in place of its usual ones, and with functions and data besides.
/// It says that its disk is `disk`, and has the manifest of `like`, another driver's module, so that that one can
/// follow on the same host.
///
/// # Panics
/// If the text is no driver, or `like` has no manifest.
pub fn wat_disk_driver(disk: &Disk, like: &[u8], bodies: &[(&str, &str)], extra: &str) -> DriverModule {
    let class = offset_of!(HostPage, class);
    let bytes = disk.to_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").expect("a string");
        text
    });
    let helpers = HELPERS
        .replace("@DISK", &bytes)
        .replace("@MAILBOX", &offset_of!(HostPage, mailbox_addr).to_string())
        .replace("@REQUESTS", &(class + offset_of!(BlockPage, requests)).to_string())
        .replace("@COMPLETIONS", &(class + offset_of!(BlockPage, completions)).to_string())
        .replace("@FIRST", &offset_of!(BlockRequest, first).to_string())
        .replace("@OP", &offset_of!(BlockRequest, op).to_string())
        .replace("@HEADER", &size_of::<RingHeader>().to_string())
        .replace("@SECOND", &(size_of::<RingHeader>() + size_of::<u64>()).to_string());
    let manifest = manifest(like).replace("name = nvme", "name = odd");
    let bodies: Vec<_> = bodies.iter().chain(&BODIES).copied().collect();
    let text = module(Class::Block, &(helpers + extra), &bodies, &manifest);
    let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    DriverModule::from_bytes(&wasm, Wasi::Refused).unwrap_or_else(|error| panic!("{error}"))
}

fn manifest(driver: &[u8]) -> String {
    let sections = Parser::new(0).parse_all(driver).filter_map(Result::ok);
    let found = sections.filter_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == "nook.manifest" => Some(section.data().to_vec()),
        _ => None,
    });
    String::from_utf8(found.last().expect("a driver has a manifest")).expect("a manifest is text")
}
