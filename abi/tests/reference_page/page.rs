//! Makes the text of `docs/abi.md`.

use nook_abi::block::{BlockCompletion, BlockRequest};
use nook_abi::net::*;
use nook_abi::*;

use crate::shape::*;
use crate::source::{Member, members};

/// Returns the whole page.
pub fn page() -> String {
    let parts = [
        opening(),
        versions(),
        types(),
        contexts(),
        entries(),
        hostcalls(),
        hints(),
        filters(),
        statuses(),
        numbers(),
        memory(),
        manifest(),
        faults(),
    ];
    parts.join("\n")
}

fn opening() -> String {
    let (major, minor) = ABI_VERSION;
    format!(
        "# The nook ABI, version {major}.{minor}

Everything that a driver and the host that runs it agree on: for authors who write a driver in another language than
Rust, and for readers of traces. In Rust the SDK says the same in types; begin with
[writing a driver](writing-a-driver.md).

This page is made from the tables and comments in `abi/src/`. Change them and write it again with
`NOOK_BLESS=1 cargo test -p nook-abi --test reference_page`; without the variable the test fails if the two differ.

A driver is a core WebAssembly module that

- imports functions only, from module `{IMPORT_MODULE}`, out of the [hostcalls](#hostcalls), and [hints](#hints);
- exports the [entries](#entries), each under the prefix `{ENTRY_PREFIX}`, and its one memory as `memory`: 32-bit,
  not shared; the host makes it larger and lays it out;
- has the custom section `{MANIFEST_SECTION}` with its [manifest](#manifest);
- has no start function.

It says in its manifest which version of this ABI it was built for, and uses nothing that is newer. This host runs drivers
built for {}.{} to {major}.{minor}. All of this is checked before any of it runs; `nook-run inspect` says what is wrong.
",
        OLDEST_ABI.0, OLDEST_ABI.1
    )
}

fn versions() -> String {
    let (major, minor) = ABI_VERSION;
    format!(
        "## Versions

Since 1.0 a driver that was built for a version is run by every later host of the same major version. So a minor version adds,
and takes nothing away:

- hostcalls, hints, entries that a driver need not have, statuses, bits, values, manifest keys, fields in room that is
  there. What is new has its version in the tables of this page; names, arguments, numbers and offsets that stand here
  stay. A number's place in a table means nothing: a module imports and exports names.
- A host gives a driver nothing that is newer than the version in its manifest: no bit, value, operation or context that
  it cannot know. A `reason` of `probe` that has no name here is to a driver as
  `Restart`.
- Memory of the host page and of ring headers that has no name is zero, and a driver neither reads nor writes it.
- Limits only become wider. The instructions that a module may consist of stay: those of WebAssembly 1.0, and multi-value,
  mutable globals, saturating conversions, sign extension, bulk memory, 128-bit vectors, tail calls and atomics. (Not
  reference types, exceptions, more than one memory, or relaxed vectors.)

A driver for a newer version is refused, before anything else of it is looked at, because it may use what this host does not
have: the message says so. An SDK writes its newest version into each driver, so one that is to run on older hosts is built
with an older SDK.

Not covered, and compared for equality instead: the tables of [native drivers](existing-drivers.md), the channel to a
driver's process, and the files of traces, recordings and reports, which say by which version they are read. The Rust
interfaces of the crates follow their own versions. This is {major}.{minor}.
"
    )
}

fn types() -> String {
    let rows = [
        (Value::U32, "unsigned"),
        (Value::U64, "unsigned"),
        (Value::I32, "0, or a negative [status](#status)"),
        (Value::I64, "a value that is not negative, or a negative [status](#status)"),
        (Value::Addr, "an address in the driver's memory"),
        (Value::Unit, "no result"),
    ];
    let rows = rows.map(|(value, meaning)| vec![code(type_name(value)), code(wasm(value)), meaning.into()]);
    format!(
        "## Types\n\nAll values are scalars; the byte order in memory is little endian.\n\n{}",
        table(&["type", "wasm", "meaning"], rows)
    )
}

fn contexts() -> String {
    let rows = members(TABLE, "pub enum Context {").into_iter().map(|context| {
        let runs = ENTRIES.iter().filter(|entry| format!("{:?}", entry.context) == context.name());
        let runs: Vec<_> = runs.map(|entry| code(entry.name)).collect();
        vec![context.name().to_lowercase(), context.doc, runs.join(", ")]
    });
    format!(
        "## Contexts

Where a driver is when it makes a hostcall. Calls into a driver never overlap. A hostcall in a context in which it is
not allowed ends the call with a [fault](#faults).

{}

A call in interrupt or atomic context is short: what it waits for comes with another call. Code that only such calls reach
is ended at its deadline where it stands, without asking the host. In a transaction register writes are held back until
the call is over; one that has worked for 20 ms may be waiting for what they bring about, and they are made at its next
hostcall of any kind. A short call that waits by looking at memory alone, without a hostcall in its loop, waits in vain
then: it ends by its budget, is rolled back, and its writes never reach the device. Read a register or call `delay_ns` in
such a loop. (Code that calls in process context can reach too asks the host every 2 ms, and held-back writes are made
then.)",
        table(&["context", "meaning", "entries"], rows)
    )
}

fn entries() -> String {
    let of = |class: Option<Class>| {
        let rows = ENTRIES.iter().filter(move |row| row.class == class).map(|row| {
            let signature = signature(&format!("{ENTRY_PREFIX}{}", row.name), row.args, row.result);
            let needed = if row.required { "yes" } else { "" };
            let kind = match row.kind {
                EntryKind::Transaction => "transaction",
                EntryKind::Setting => "setting",
                EntryKind::Plain => "",
            };
            vec![
                signature,
                wasm_type(row.args, row.result),
                row.context.to_string(),
                needed.into(),
                kind.into(),
                version(row.since),
                row.doc.into(),
            ]
        });
        table(&["export", "wasm type", "context", "required", "kind", "since", "what it does"], rows)
    };
    let mut text = format!(
        "## Entries

What the host calls. A driver exports all that are required, of the core and of its class, and no other class's. A
transaction can be undone until the host has checked it, where the driver's memory can be rolled back; settings are sent
again after a restart.

{}",
        of(None)
    );
    for &class in Class::ALL.iter().filter(|&&class| ENTRIES.iter().any(|row| row.class == Some(class))) {
        text += &format!("\n### Entries of class `{class}`\n\n{}", of(Some(class)));
    }
    text
}

fn hostcalls() -> String {
    let mut text = String::from("## Hostcalls\n\nWhat a driver can ask the host for. It imports only what it uses.\n");
    let of = |topic: &str, class: Option<Class>| {
        let all = HOSTCALLS.iter().filter(|row| format!("{:?}", row.topic) == topic && row.class == class);
        let rows = all.map(|row| {
            let contexts = match row.contexts {
                Contexts::ANY => "any".to_owned(),
                some => {
                    let all = [Context::Process, Context::Interrupt, Context::Atomic];
                    let some = all.iter().filter(|context| some.allows(**context)).map(Context::to_string);
                    some.collect::<Vec<_>>().join(", ")
                }
            };
            vec![
                signature(row.name, row.args, row.result),
                wasm_type(row.args, row.result),
                contexts,
                version(row.since),
                row.doc.into(),
            ]
        });
        table(&["import", "wasm type", "contexts", "since", "what it does"], rows)
    };
    for topic in members(TABLE, "pub enum Topic {").into_iter().filter(|topic| topic.name() != "Class") {
        text += &format!("\n### {}\n\n{}\n\n{}", topic.name(), topic.doc, of(topic.name(), None));
    }
    for &class in Class::ALL.iter().filter(|&&class| HOSTCALLS.iter().any(|row| row.class == Some(class))) {
        text += &format!("\n### Hostcalls of class `{class}`\n\n{}", of("Class", Some(class)));
    }
    text
}

fn hints() -> String {
    let rows = HINTS.iter().map(|row| {
        let signature = signature(row.name, row.args, row.result);
        vec![signature, wasm_type(row.args, row.result), version(row.since), row.doc.into()]
    });
    format!(
        "## Hints

Imports of module `{HINT_MODULE}`, which are no calls: the loader puts an instruction in the place of each call of one, at
every level of isolation. Their functions cannot be exported or put into a table.

What `store64` writes is *declared scratch*: a call that is [rolled back](writing-a-driver.md#what-can-be-rolled-back)
leaves it there, because it was not logged. So it is only for memory whose content nobody reads before it is written again,
whether this call counts or not: entries of a ring at and beyond `produced`, descriptors and notes of packets in places
that were free when the call began. Where that is not so the driver finds a wrong memory after a rollback; nobody
else does, because the host believes nothing that it reads there. Where `offset` is a constant it costs nothing.

{}",
        table(&["import", "wasm type", "since", "what it does"], rows)
    )
}

fn filters() -> String {
    let rows = FILTER_ENTRIES.iter().map(|row| {
        let name = format!("{ENTRY_PREFIX}{}", row.name);
        let signature = signature(&name, row.args, row.result);
        vec![signature, wasm_type(row.args, row.result), row.context.to_string(), version(row.since), row.doc.into()]
    });
    format!(
        "## Filters

A filter is a second module in a driver's nook, of class `filter`. It has its own memory, laid out as a driver's,
with the same window at its end; it imports nothing and exports all of these. Driver and filter trust each other: they
call each other without the host, and a fault of either ends both.

A filter sees a frame before the device does anything to it. If the driver said that its device does the host's work
(`net_offloads`), that is how a frame to be sent is seen: with a checksum that is not complete, and with TCP's segmentation a
packet of up to 64 KiB that was not cut, whose lengths, IPv4 checksum and TCP checksum are not final. Of a frame in several
buffers it sees the first, and its verdict is about all of it. The policy `[net] offloads = \"host\"` has it see frames as
they leave, but for those in several buffers.

{}",
        table(&["export", "wasm type", "context", "since", "what it does"], rows)
    )
}

fn statuses() -> String {
    let comments = members(STATUS, "status! {");
    let rows = Status::ALL.iter().map(|status| {
        let name = format!("{status:?}");
        let comment = comments.iter().find(|member| member.name() == name).expect("each status has a comment");
        vec![status.code().to_string(), code(&name), comment.doc.clone()]
    });
    format!(
        "## Status\n\nA bad day of the device or the world: it is returned, and the caller may carry on.\n\n{}",
        table(&["code", "name", "meaning"], rows)
    )
}

fn numbers() -> String {
    let mut text = String::from("## Numbers\n\nBits that are not named are zero.\n");
    for (name, source, opening, of) in sets() {
        // `ALL` is for checks in code.
        let named = members(source, opening).into_iter().filter(|member| member.name() != "ALL");
        let rows = named.map(|member| vec![code(member.name()), code(member.value()), member.doc.clone()]);
        text += &format!("\n### {name}\n\n{of}\n\n{}", table(&["name", "value", "meaning"], rows));
    }
    text
}

fn memory() -> String {
    const REQUESTS_BYTES: usize = ring_bytes(size_of::<BlockRequest>());
    const COMPLETIONS_BYTES: usize = ring_bytes(size_of::<BlockCompletion>());
    let side_bytes = size_of::<Side>();
    let queues = members(NET_QUEUE, "pub enum Queue {").into_iter().zip(Queue::ALL).map(|(member, queue)| {
        assert_eq!(member.name(), format!("{queue:?}"));
        let (host, driver) = match queue {
            Queue::RxProvide | Queue::TxProvide => ("`produced`", "`consumed`"),
            Queue::RxReturn | Queue::TxReturn => ("`consumed`", "`produced`"),
        };
        let index = queue as usize;
        vec![index.to_string(), code(queue.name()), member.doc, host.into(), driver.into()]
    });
    let mut text = format!(
        "## Memory

A driver's memory is `[data, stack | heap | host page, rings | DMA window]`. The module brings the first part; the host
adds the others and never grows it. `probe` is given the address of the host page, and all else is found from there.

The host page has {HOST_PAGE_BYTES} bytes, of which `mailbox_addr` names {MAILBOX_BYTES} as the mailbox. `magic` is
{HOST_PAGE_MAGIC:#010x} (`nook` in ASCII). What a class has in the host page stands in `class`.

A driver may leave a doorbell in the host page instead of calling `mmio_write32`: it writes it to
`doorbells[doorbell_count]` and adds 1 to `doorbell_count`, if that is below `doorbell_room`. The host makes these writes
in order, and sets `doorbell_count` to 0: when the call into the driver returns, or before, in each hostcall about
registers, DMA or interrupts, in `delay_ns`, `sleep_ns` and `clock_ns`, and in a call that asks the host at its deadline
(see [contexts](#contexts)) once it has worked for 20 ms. So the device sees all register writes in the order in which the driver made them. Each is checked, held back by a
transaction, traced and counted as a call of `mmio_write32` is, but the register must also be one that the map calls a
doorbell. What cannot be rung is the fault that the hostcall would have been; a count above {DOORBELLS} is
`QueueCorrupt`. A call that ends in a fault loses what it left. `doorbell_room` is 0 for drivers that are not WebAssembly,
and with direct registers.

A ring is a `RingHeader` and {QUEUE_CAPACITY} entries of one size, which its class defines. Its two counters run free:
entry `n` stands at place `n % {QUEUE_CAPACITY}`, and the ring is empty when they are equal. The host takes and puts
entries only between calls into the driver, on the same thread, so that counters need no barrier. It keeps its own count
of both and checks what the driver says.

Class `net` has a `NetPage` in `class`, and four rings of {RING_BYTES} bytes with entries that are `QueueEntry`. Packet
buffer `id` begins at `offset + id * stride_bytes` in the window; the frame begins `headroom_bytes` after that.

A frame is one entry, with `FIRST` and `LAST`. Only if the driver said `SEVERAL_BUFFERS` (`net_offloads`) one to be sent may
be several entries that follow each other, `FIRST` on the first and `LAST` on the last, each but the last full. A driver
takes such a frame whole in one call, or not at all: one that begins within `poll`'s budget is taken to its end. It returns
each entry by itself, with the flags that it was given with; what became of the frame is the status of its last one, as the
host gave it. Only if the driver said `RX_SEVERAL_BUFFERS` a received frame may be several entries of `rx_return`, in the same
form, with `CHECKED` on the first alone. They follow each other, none is empty, all are returned by one call, and together
they are no longer than `max_mtu` bytes, an Ethernet header and a VLAN tag. Of one that failed, one entry says so and the
others are `Unused`: they count as buffers without a frame.

An entry of `tx_provide` whose flags have `SIDE` has a `Side` beside it: {side_bytes} bytes in the ring's side array, at the
same index. It stands beside a frame's first entry, and only if the driver said what it asks for. The host has checked
it: the places lie inside the frame's headers, which are in its first buffer, and no segment is longer than a frame may
be. Like the entry it means something between the ring's counters only; what a driver that moves entries in a ring (a
filter's part of the SDK does) writes there is undone by a rollback as all its memory is. A driver that says nothing
never sees one, and the host computes checksums and cuts TCP's segments as if there were no such thing.

`CHECKED` on a received frame's first entry says that the device found its checksum right. The host believes that, so a
device or driver that is wrong about it lets damage pass: such frames are counted (`rx_checked`), and the policy
`net.checksums` can have the host not believe it.

Class `block` has a `BlockPage` in `class`, and two rings: of {REQUESTS_BYTES} bytes with entries that are `BlockRequest`, which the
host puts in, and of {COMPLETIONS_BYTES} bytes with entries that are `BlockCompletion`, which the driver puts in. A request is the driver's
from when it counted the entry as taken until it put the completion; its data, which begins on a page of the window, is
its device's meanwhile. What the host asks for lies inside the disk.

{}",
        table(&["ring", "queue", "what it carries", "host counts", "driver counts"], queues)
    );
    for (source, (name, size, align, fields)) in structs() {
        let comments = members(source, &format!("pub struct {name} {{"));
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names, comments.iter().map(Member::name).collect::<Vec<_>>(), "{name}");
        let rows = fields.iter().zip(comments).map(|(field, member)| {
            let ty = member.code.split_once(": ").map_or("", |(_, ty)| ty);
            vec![field.offset.to_string(), field.size.to_string(), code(ty), code(field.name), member.doc]
        });
        let rows = table(&["offset", "bytes", "type", "name", "meaning"], rows);
        text += &format!("\n### {name}\n\n{size} bytes, aligned to {align}.\n\n{rows}");
    }
    text
}

fn manifest() -> String {
    const REST: &str = "name = sample\nversion = 1.0\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\n\
                        registers = sample\ndma_bytes = 65536\ndma_mask_bits = 64\n";
    let good = format!("abi = {}\n{REST}", version(ABI_VERSION));
    let row = |good: &str, member: Member| {
        let (key, meaning) = member.doc[1..].split_once("`: ").expect("the comment begins with the key");
        let keeps = |line: &&str| line.split(' ').next() != Some(key);
        let rest: String = good.lines().filter(keeps).flat_map(|line| [line, "\n"]).collect();
        let required = matches!(Manifest::parse(rest.as_bytes()), Err(ManifestError::Missing(it)) if it == key);
        let bad = format!("{rest}{key} = ?\n");
        let value = match Manifest::parse(bad.as_bytes()) {
            Err(ManifestError::BadValue { expected, .. }) => expected.to_owned(),
            Err(ManifestError::UnknownClass(_)) => {
                Class::ALL.iter().map(|class| class.name()).collect::<Vec<_>>().join(", ")
            }
            Ok(_) => "text".to_owned(),
            Err(error) => panic!("{key}: {error}"),
        };
        vec![code(key), if required { "yes" } else { "" }.into(), value, meaning.to_owned()]
    };
    let of_block = |member| row(&good.replace("class = net", "class = block"), member);
    let row = |member| row(&good, member);
    let head = ["key", "required", "value", "meaning"];
    let core = table(&head, members(MANIFEST, "pub struct Manifest<S> {").into_iter().map(row));
    let net = table(&head, members(NET_MANIFEST, "pub struct NetKeys {").into_iter().map(row));
    let block = table(&head, members(BLOCK_MANIFEST, "pub struct BlockKeys {").into_iter().map(of_block));
    format!(
        "## Manifest

The custom section `{MANIFEST_SECTION}` is UTF-8 text: lines of `key = value`. Empty lines and lines that begin with `#`
are left out. Each key stands once, and a key that is not listed here is an error. Numbers are decimal.

{core}
A driver of class `net` has these besides, those of the classes `misc` and `serial` none:

{net}
A driver of class `block` has these:

{block}
For example:

```
{good}```
"
    )
}

fn faults() -> String {
    let of = |source: &str, opening: &str| {
        let rows = members(source, opening).into_iter().map(|member| {
            let says = member.members.iter().map(|field| format!("{}: {}", code(field.name()), field.doc));
            let says = says.map(|text| text.trim_end_matches('.').to_owned()).collect::<Vec<_>>().join("; ");
            vec![code(member.name()), member.doc.clone(), says]
        });
        table(&["fault", "when", "what it says"], rows)
    };
    let traps = members(FAULT, "pub enum TrapKind {").into_iter();
    let traps = traps.map(|member| vec![code(member.name()), member.doc.clone()]);
    format!(
        "## Faults

What ends a call into a driver. After one, nothing that the driver says is believed until it was recovered.

{}
### Faults of class `net`

{}
### Faults of class `misc`

{}
### Faults of class `block`

{}
### Faults of class `serial`

{}
### TrapKind

{}",
        of(FAULT, "pub enum Fault {"),
        of(NET_FAULT, "pub enum NetFault {"),
        of(MISC_FAULT, "pub enum MiscFault {"),
        of(BLOCK_FAULT, "pub enum BlockFault {"),
        of(SERIAL_FAULT, "pub enum SerialFault {"),
        table(&["kind", "meaning"], traps)
    )
}

fn type_name(value: Value) -> &'static str {
    match value {
        Value::U32 => "u32",
        Value::U64 => "u64",
        Value::I32 => "i32",
        Value::I64 => "i64",
        Value::Addr => "Addr",
        Value::Unit => "()",
    }
}

fn wasm(value: Value) -> &'static str {
    match value {
        Value::U32 | Value::I32 | Value::Addr => "i32",
        Value::U64 | Value::I64 => "i64",
        Value::Unit => "",
    }
}

fn signature(name: &str, args: &[ArgInfo], result: Value) -> String {
    let args: Vec<_> = args.iter().map(|arg| format!("{}: {}", arg.name, type_name(arg.value))).collect();
    let result = if result == Value::Unit { String::new() } else { format!(" -> {}", type_name(result)) };
    format!("`{name}({}){result}`", args.join(", "))
}

fn wasm_type(args: &[ArgInfo], result: Value) -> String {
    let args: Vec<_> = args.iter().map(|arg| wasm(arg.value)).collect();
    format!("`({}) -> ({})`", args.join(" "), wasm(result))
}

fn version((major, minor): (u16, u16)) -> String {
    format!("{major}.{minor}")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head) + &line(&vec!["---"; head.len()]);
    for row in rows {
        assert_eq!(row.len(), head.len());
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text += &line(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}
