//! Makes a line of each thing that a driver can depend on, without words: what `kept-1.0.txt` has of version 1.0.

use nook_abi::net::*;
use nook_abi::*;

use crate::shape::*;
use crate::source::members;

/// Returns the lines.
pub fn lines() -> Vec<String> {
    [rows(), statuses(), numbers(), memory(), manifest()].concat()
}

fn row(kind: &str, name: &str, args: &[ArgInfo], result: Value, more: String, since: (u16, u16)) -> String {
    let args: Vec<_> = args.iter().map(|arg| format!("{}: {:?}", arg.name, arg.value)).collect();
    format!("{kind} {name}({}) -> {result:?}{more}, since {}.{}", args.join(", "), since.0, since.1).replace(',', "")
}

fn rows() -> Vec<String> {
    let hostcalls =
        HOSTCALLS.iter().map(|it| row("hostcall", it.name, it.args, it.result, format!(" {:?}", it.class), it.since));
    // A later version may allow more.
    let allowed = HOSTCALLS.iter().flat_map(|it| {
        let contexts = [Context::Process, Context::Interrupt, Context::Atomic];
        let contexts = contexts.into_iter().filter(|&context| it.contexts.allows(context));
        contexts.map(|context| format!("hostcall {} in {context} context", it.name))
    });
    let entries = ENTRIES.iter().map(|it| {
        let required = if it.required { "required" } else { "optional" };
        let more = format!(" {:?} {} {required} {:?}", it.class, it.context, it.kind);
        row("entry", it.name, it.args, it.result, more, it.since)
    });
    let hints = HINTS.iter().map(|it| row("hint", it.name, it.args, it.result, String::new(), it.since));
    let filters = FILTER_ENTRIES
        .iter()
        .map(|it| row("filter entry", it.name, it.args, it.result, format!(" {}", it.context), it.since));
    hostcalls.chain(allowed).chain(entries).chain(hints).chain(filters).collect()
}

fn statuses() -> Vec<String> {
    Status::ALL.iter().map(|status| format!("status {status:?} = {}", status.code())).collect()
}

fn numbers() -> Vec<String> {
    let of = |(set, source, opening, _)| {
        let named = members(source, opening).into_iter().filter(|member| member.name() != "ALL");
        named.map(move |member| format!("number {set}.{} = {}", member.name(), member.value())).collect::<Vec<_>>()
    };
    let constants = [
        ("HOST_PAGE_BYTES", HOST_PAGE_BYTES),
        ("MAILBOX_BYTES", MAILBOX_BYTES),
        ("QUEUE_CAPACITY", QUEUE_CAPACITY as usize),
        ("HOST_PAGE_MAGIC", HOST_PAGE_MAGIC as usize),
    ];
    let names = [IMPORT_MODULE, ENTRY_PREFIX, MANIFEST_SECTION, HINT_MODULE].map(|name| format!("name {name}"));
    let constants = constants.map(|(name, value)| format!("number {name} = {value}"));
    sets().into_iter().flat_map(of).chain(constants).chain(names).collect()
}

fn memory() -> Vec<String> {
    // Those can become longer: they stand in room that is kept for that, or their length is said.
    let grows = |name: &str| name.ends_with("Page") || name == "Disk";
    let of = |(_, (name, size, align, fields)): (_, Struct)| {
        let whole = (!grows(name)).then(|| format!("struct {name}: {size} bytes aligned to {align}"));
        let fields = fields
            .into_iter()
            // What follows it is where it is.
            .filter(|field| !(grows(name) && field.name == "class"))
            .map(move |field| format!("struct {name}.{}: {} bytes at {}", field.name, field.size, field.offset));
        whole.into_iter().chain(fields).collect::<Vec<_>>()
    };
    structs().into_iter().flat_map(of).chain([format!("struct HostPage.class at {}", CLASS_AT)]).collect()
}

const CLASS_AT: usize = std::mem::offset_of!(HostPage, class);

/// Keys with the least and the greatest value that they can have, where that is a number.
fn manifest() -> Vec<String> {
    let head = |class: &str| format!("abi = 1.0\nname = a\nversion = 1\nlicense = MIT\nclass = {class}\n");
    let device = "pci = 8086:100e\nregisters = a\ndma_bytes = 65536\ndma_mask_bits = 64\n";
    let mut lines = Vec::new();
    for class in Class::ALL {
        let text = head(class.name()) + if class.has_device() { device } else { "" };
        let good = Manifest::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{class}: {error}"));
        lines.push(format!("manifest of class {class}: these keys are enough"));
        let keys = ["heap_bytes", "dma_bytes", "dma_mask_bits", "irq_vectors"];
        for key in keys.iter().chain(class.key_names()) {
            let with = |value: u64| {
                let rest = text.lines().filter(|line| line.split(' ').next() != Some(key));
                let text = rest.flat_map(|line| [line, "\n"]).collect::<String>() + &format!("{key} = {value}\n");
                Manifest::parse(text.as_bytes()).is_ok()
            };
            // Every value that it can have, among those that a range may end with.
            let ends = (0..=32).map(|bits| 1u64 << bits).flat_map(|it| [it - 1, it, it + 1]).chain([24, 65520]);
            let can: Vec<u64> = ends.filter(|&value| with(value)).collect();
            let ends = can.iter().min().into_iter().chain(can.iter().max());
            lines.extend(ends.map(|value| format!("manifest of class {class}: {key} = {value}")));
        }
        lines.push(format!(
            "manifest of class {class} by default: {:?} {} {}",
            good.keys, good.heap_bytes, good.irq_vectors
        ));
    }
    lines
}
