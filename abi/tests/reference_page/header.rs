//! Makes the text of `driver-sdk/c/include/nook/abi.h`.

use std::collections::BTreeSet;

use nook_abi::block::BlockQueue;
use nook_abi::misc::{MOST_OPEN, MOST_OPERATIONS};
use nook_abi::net::*;
use nook_abi::serial::NOTHING;
use nook_abi::*;

use crate::shape::*;
use crate::source::members;

const WIDTH: usize = 120;

/// Returns the whole header.
pub fn header() -> String {
    let parts = [opening(), statuses(), numbers(), memory(), hostcalls(), hints(), entries(), "#endif\n".into()];
    parts.join("\n")
}

fn opening() -> String {
    let (major, minor) = ABI_VERSION;
    format!(
        "/* The nook ABI, version {major}.{minor}, for drivers in C: hostcalls, entries, numbers and shared structs.

   This file is made from the tables and comments in abi/src/. Change them and write it again with
   NOOK_BLESS=1 cargo test -p nook-abi --test reference_page; without the variable the test fails if the two differ.
   docs/abi.md says the same in prose. An entry becomes an export, and a hostcall an import, by being defined or used. */
#ifndef NOOK_ABI_H
#define NOOK_ABI_H

#include <stddef.h>
#include <stdint.h>

/* The line of the manifest that says which version a driver was built for. */
#define NOOK_ABI_LINE \"abi = {major}.{minor}\\n\"
/* The manifest: what the driver is and needs, a line each, as in NOOK_MANIFEST(\"name = sample\\n\" \"class = misc\\n\");
   once, outside functions. It becomes the custom section that is read before the driver runs, which C cannot name;
   natively it is nothing. */
#ifdef __wasm__
#define NOOK_MANIFEST(lines) \\
    __asm__(\".section .custom_section.{MANIFEST_SECTION},\\\"\\\",@\\n.ascii \\\"\" NOOK_ABI_LINE lines \"\\\"\\n.text\\n\")
#else
#define NOOK_MANIFEST(lines) _Static_assert(sizeof(lines) > 1, \"a manifest has lines\")
#endif

#define NOOK_HOST_PAGE_MAGIC {HOST_PAGE_MAGIC:#010x}u
#define NOOK_HOST_PAGE_BYTES {HOST_PAGE_BYTES}u
#define NOOK_MAILBOX_BYTES {MAILBOX_BYTES}u
/* Entries of a ring: a power of two. */
#define NOOK_QUEUE_CAPACITY {QUEUE_CAPACITY}u
/* Multicast addresses that `set_rx_mode` is given at most. */
#define NOOK_MOST_MULTICAST {MOST_MULTICAST}u
/* Counters that `net_counters` names at most, and bytes of a name. */
#define NOOK_MOST_COUNTERS {MOST_COUNTERS}u
#define NOOK_COUNTER_NAME_BYTES {COUNTER_NAME_BYTES}u
/* Operations that a driver of class misc has at most, and how many of them are open at a time. */
#define NOOK_MOST_OPERATIONS {MOST_OPERATIONS}u
#define NOOK_MOST_OPEN {MOST_OPEN}u
/* What `serial_next` returns if there is nothing to send; less than this is a byte. */
#define NOOK_NOTHING {NOTHING:#x}u
/* Words of the host page for what a class has there. */
#define NOOK_CLASS_WORDS {CLASS_WORDS}u
/* Doorbells that can be left in the host page. */
#define NOOK_DOORBELLS {DOORBELLS}u

#define NOOK_HOSTCALL(name) __attribute__((import_module(\"{IMPORT_MODULE}\"), import_name(#name)))
#define NOOK_HINT(name) __attribute__((import_module(\"{HINT_MODULE}\"), import_name(#name)))
#define NOOK_ENTRY(name) __attribute__((export_name(\"{ENTRY_PREFIX}\" #name)))
"
    )
}

fn statuses() -> String {
    let comments = members(STATUS, "status! {");
    let mut text = String::from(
        "/* A bad day of the device or the world: what entries and hostcalls return. */\nenum nook_status {\n",
    );
    for status in Status::ALL {
        let name = format!("{status:?}");
        let comment = comments.iter().find(|member| member.name() == name).expect("each status has a comment");
        text += &comment_lines(&comment.doc, "    ");
        text += &format!("    NOOK_{} = {},\n", upper(&name), status.code());
    }
    text + "};\n"
}

fn numbers() -> String {
    let mut text = String::new();
    for (set, source, opening, of) in sets() {
        text += &format!("{}{}", if text.is_empty() { "" } else { "\n" }, comment_lines(&of.replace('`', ""), ""));
        for member in members(source, opening).into_iter().filter(|member| member.name() != "ALL") {
            let value = member.value().replace("1 <<", "1u <<");
            let value = if value.contains(' ') { format!("({value})") } else { format!("{value}u") };
            text += &comment_lines(&member.doc, "");
            text += &format!("#define NOOK_{}_{} {value}\n", upper(set), upper(member.name()));
        }
    }
    text
}

fn memory() -> String {
    let mut text = comment_lines("The four rings of class net, in the order of `rings` in the page.", "");
    for queue in Queue::ALL {
        text += &format!("#define NOOK_QUEUE_{} {}u\n", upper(queue.name()), queue as usize);
    }
    text += &comment_lines("The two rings of class block.", "");
    for queue in BlockQueue::ALL {
        text += &format!("#define NOOK_BLOCK_QUEUE_{} {}u\n", upper(queue.name()), queue as usize);
    }
    let mut all = structs();
    // C wants a struct before what holds it.
    all.sort_by_key(|(_, (name, ..))| usize::from(*name == "NetPage"));
    for (source, (name, size, align, fields)) in all {
        let tag = lower(name);
        let comments = members(source, &format!("pub struct {name} {{"));
        text += &format!("\nstruct nook_{tag} {{\n");
        for member in &comments {
            let ty = member.code.split_once(": ").map_or("", |(_, ty)| ty);
            text += &comment_lines(&member.doc, "    ");
            text += &format!("    {};\n", declared(ty, member.name()));
        }
        text += &if align > 8 { format!("}} __attribute__((aligned({align})));\n") } else { "};\n".into() };
        for field in fields {
            let Field { name, offset, .. } = field;
            text += &format!("_Static_assert(offsetof(struct nook_{tag}, {name}) == {offset}, \"{tag}.{name}\");\n");
        }
        text += &format!("_Static_assert(sizeof(struct nook_{tag}) == {size}, \"{tag}\");\n");
    }
    text
}

fn hostcalls() -> String {
    let mut text = String::from(
        "/* Hostcalls. Those that return int32_t or int64_t return a negative status, or what they say. */\n",
    );
    for row in HOSTCALLS {
        text += &format!("\n{}NOOK_HOSTCALL({})\n", comment_lines(row.doc, ""), row.name);
        text += &prototype(row.name, row.args, row.result);
    }
    text
}

fn hints() -> String {
    let mut text = String::from("/* Hints: the loader puts an instruction in the place of each call. */\n");
    for row in HINTS {
        text += &format!("\n{}NOOK_HINT({})\n", comment_lines(row.doc, ""), row.name);
        text += &prototype(&format!("hint_{}", row.name), row.args, row.result);
    }
    text
}

fn entries() -> String {
    let hostcalls: BTreeSet<_> = HOSTCALLS.iter().map(|row| row.name).collect();
    let mut text =
        String::from("/* Entries of a driver: it defines those that are required, and of the others what it has. */\n");
    for row in ENTRIES {
        assert!(!hostcalls.contains(row.name), "{} would be two functions of one name", row.name);
        let required = if row.required { "Required." } else { "Optional." };
        text += &format!("\n{}NOOK_ENTRY({})\n", comment_lines(&format!("{} {required}", row.doc), ""), row.name);
        text += &prototype(row.name, row.args, row.result);
    }
    text += "\n/* Entries of a filter: it defines all of them, and nothing of the above. */\n";
    for row in FILTER_ENTRIES {
        text += &format!("\n{}NOOK_ENTRY({})\n", comment_lines(row.doc, ""), row.name);
        text += &prototype(row.name, row.args, row.result);
    }
    text
}

fn prototype(name: &str, args: &[ArgInfo], result: Value) -> String {
    let args: Vec<_> = args.iter().map(|arg| format!("{} {}", c_value(arg.value), arg.name)).collect();
    let args = if args.is_empty() { "void".into() } else { args.join(", ") };
    format!("{} nook_{name}({args});\n", c_value(result))
}

fn c_value(value: Value) -> &'static str {
    match value {
        Value::U32 => "uint32_t",
        Value::U64 => "uint64_t",
        Value::I32 => "int32_t",
        Value::I64 => "int64_t",
        Value::Addr => "uintptr_t",
        Value::Unit => "void",
    }
}

/// Returns a field as C declares it.
fn declared(ty: &str, name: &str) -> String {
    if let Some((of, count)) =
        ty.strip_prefix('[').and_then(|ty| ty.strip_suffix(']')).and_then(|ty| ty.split_once("; "))
    {
        let count = if count.parse::<u32>().is_ok() { count.into() } else { format!("NOOK_{count}") };
        return format!("{}[{count}]", declared(of, name));
    }
    match ty {
        "u8" | "u16" | "u32" | "u64" => format!("uint{}_t {name}", &ty[1..]),
        _ => format!("struct nook_{} {name}", lower(ty)),
    }
}

/// `RxProvide`, `rx_provide` → `RX_PROVIDE`.
fn upper(name: &str) -> String {
    lower(name).to_uppercase()
}

/// `RxProvide` → `rx_provide`.
fn lower(name: &str) -> String {
    let mut text = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before != '_' && !before.is_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
        before = c;
    }
    text
}

/// Returns a comment, in lines that are not too long.
fn comment_lines(text: &str, indent: &str) -> String {
    let mut lines = vec![format!("{indent}/*")];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        if last.len() + 1 + word.len() + 3 > WIDTH {
            lines.push(format!("{indent}   {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines.join("\n") + " */\n"
}
