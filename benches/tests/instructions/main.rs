//! What the compiler makes of the calls that matter, counted in machine code for one fixed target: so a change that
//! makes them longer is seen on every machine, however busy it is.
//!
//! `NOOK_BLESS=1 cargo test --release -p nook-benches --test instructions` rewrites the listing, after `cargo xtask
//! drivers`.
#![cfg(target_arch = "x86_64")]

mod code;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use code::{Count, Function};
use nook_benches::levels::Program;
use nook_runtime::{FIXED_TARGET, MachineCode, RollbackMethod, machine_code};
use object::{Object, ObjectSection, ObjectSymbol};
use wasmparser::{ExternalKind, Parser, Payload, ProducersSectionReader, TypeRef};

/// The entries of the e1000 driver that carry packets.
const ENTRIES: [&str; 2] = ["nook_poll", "nook_irq"];
/// By what share counts may lie above the listing if another compiler made the module: it inlines and unrolls other
/// things, and what is guarded against costs more.
const TOLERANCE: f64 = 0.1;

/// A compiled driver.
struct Compiled {
    /// Functions by their addresses.
    functions: BTreeMap<u64, Function>,
    /// Addresses by wasmtime's names, without what the driver's compiler called the function.
    places: BTreeMap<String, u64>,
    /// What the driver's compiler called it.
    names: BTreeMap<u64, String>,
    /// Indices of exported functions.
    exports: BTreeMap<String, u32>,
    /// Indices of the signatures of imported functions.
    imports: BTreeMap<String, usize>,
}

impl Compiled {
    fn read(code: &MachineCode) -> Self {
        let file = object::File::parse(&*code.image).expect("wasmtime makes an ELF file");
        let text = file.section_by_name(".text").expect("it has code");
        let (bytes, base) = (text.data().unwrap(), text.address());
        let (mut functions, mut places, mut names) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(text.index())) {
            let at = (symbol.address() - base) as usize;
            let code = &bytes[at..at + symbol.size() as usize];
            functions.insert(symbol.address(), Function::read(code, symbol.address()));
            let name = symbol.name().unwrap();
            let (place, name) = match name.strip_prefix("wasm[0]::function[").and_then(|rest| rest.split_once("]::")) {
                Some((index, name)) => (format!("wasm[0]::function[{index}]"), name),
                None => (name.to_owned(), name),
            };
            places.insert(place, symbol.address());
            names.insert(symbol.address(), format!("{:#}", rustc_demangle::demangle(name)));
        }
        let (exports, imports) = tables(&code.wasm);
        Compiled { functions, places, names, exports, imports }
    }

    fn at(&self, place: &str) -> (u64, &Function) {
        let address = self.places.get(place).unwrap_or_else(|| panic!("there is no {place}: {:?}", self.places));
        (*address, &self.functions[address])
    }

    /// Returns what an export's caller enters, and each function that is called from there and comes back, by name.
    fn reached(&self, export: &str) -> Vec<(String, &Function)> {
        let (entry, _) = self.at(&format!("wasm[0]::function[{}]", self.exports[export]));
        let (mut open, mut seen) = (vec![entry], Vec::new());
        while let Some(at) = open.pop() {
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            let callees = self.functions[&at].callees();
            open.extend(callees.into_iter().filter(|callee| self.functions[callee].returns()));
        }
        let mut named: Vec<_> = seen.iter().map(|at| (self.name(*at, export), &self.functions[at])).collect();
        // Where the compiler puts them changes more often than what they are called.
        named[1..].sort_by(|(a, _), (b, _)| a.cmp(b));
        named
    }

    fn name(&self, at: u64, export: &str) -> String {
        let name = &self.names[&at];
        let (entered, _) = self.at(&format!("wasm[0]::function[{}]", self.exports[export]));
        match name.starts_with("wasm[0]") {
            true if at == entered => format!("what was added around {export}"),
            true => "what was added and is called".to_owned(),
            false => name.clone(),
        }
    }
}

/// Returns a module's exported functions, and for each imported one the place of its signature among all different
/// ones: so wasmtime numbers them.
fn tables(wasm: &[u8]) -> (BTreeMap<String, u32>, BTreeMap<String, usize>) {
    let (mut types, mut different) = (Vec::new(), Vec::new());
    let (mut exports, mut imports) = (BTreeMap::new(), BTreeMap::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty.unwrap();
                    let place = different.iter().position(|it| *it == ty).unwrap_or_else(|| {
                        different.push(ty);
                        different.len() - 1
                    });
                    types.push(place);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports().map(Result::unwrap) {
                    if let TypeRef::Func(ty) = import.ty {
                        imports.insert(import.name.to_owned(), types[ty as usize]);
                    }
                }
            }
            Payload::ExportSection(section) => {
                let functions = section.into_iter().map(Result::unwrap).filter(|it| it.kind == ExternalKind::Func);
                exports.extend(functions.map(|it| (it.name.to_owned(), it.index)));
            }
            _ => {}
        }
    }
    (exports, imports)
}

/// Returns which compiler made a module, as it says itself.
fn made_by(wasm: &[u8]) -> String {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CustomSection(section) = payload.unwrap() else { continue };
        if section.name() != "producers" {
            continue;
        }
        let reader = wasmparser::BinaryReader::new(section.data(), section.data_offset());
        for field in ProducersSectionReader::new(reader).unwrap().into_iter().map(Result::unwrap) {
            let rustc = field.values.into_iter().map(Result::unwrap).find(|it| it.name == "rustc");
            if let Some(rustc) = rustc {
                return format!("rustc {}", rustc.version);
            }
        }
    }
    "a compiler that does not say its name".to_owned()
}

/// What is counted: a name, and the count.
type Line = (String, Count);

fn add(lines: &mut Vec<Line>, name: String, function: &Function) {
    lines.push((name.clone(), function.count()));
    for (at, count) in function.innermost_loops().into_iter().enumerate() {
        lines.push((format!("{name}, loop {}", at + 1), count));
    }
}

fn lines(level: &str, compiled: &Compiled) -> Vec<Line> {
    let mut lines = Vec::new();
    for entry in ENTRIES {
        let trampoline = format!("wasm[0]::array_to_wasm_trampoline[{}]", compiled.exports[entry]);
        add(&mut lines, format!("{level}: the way into {entry}"), compiled.at(&trampoline).1);
        for (name, function) in compiled.reached(entry) {
            let name = format!("{level}: {name}");
            if !lines.iter().any(|(counted, _)| *counted == name) {
                add(&mut lines, name, function);
            }
        }
    }
    let import = "mmio_write32";
    let trampoline = format!("signatures[{}]::wasm_to_array_trampoline", compiled.imports[import]);
    add(&mut lines, format!("{level}: the way out to {import}"), compiled.at(&trampoline).1);
    lines
}

fn listing() -> (String, Vec<Line>) {
    let module = Program::E1000.module();
    let mut all = Vec::new();
    for (level, rollback) in [("sfi", None), ("sfi+txn", Some(RollbackMethod::Log.rollback()))] {
        let code = machine_code(&module, rollback.as_deref()).expect("the driver compiles");
        all.extend(lines(level, &Compiled::read(&code)));
    }
    (made_by(module.wasm()), all)
}

fn written(maker: &str, lines: &[Line]) -> String {
    let (target, instructions) = FIXED_TARGET;
    let mut text = format!(
        "Instructions of the e1000 driver, counted by benches/tests/instructions. Made of a module of\n{maker}\nfor \
         {target} {}.\nEach innermost loop is counted on its own, too. Accesses: to the function's own frame; to other \
         memory.\n\ninstructions  frame  memory  calls\n",
        instructions.join(" ")
    );
    for (name, Count { instructions, frame, memory, calls }) in lines {
        writeln!(text, "{instructions:12} {frame:6} {memory:7} {calls:6}  {name}").unwrap();
    }
    text
}

/// Returns the instructions of each line of a listing, by name.
fn read<'a>(listing: &'a str) -> BTreeMap<&'a str, usize> {
    let line = |text: &'a str| Some((text.rsplit_once("  ")?.1, text.split_whitespace().next()?.parse().ok()?));
    listing.lines().filter_map(line).collect()
}

#[test]
fn the_calls_that_carry_packets_are_as_long_as_the_listing_says() {
    let (maker, lines) = listing();
    let found = written(&maker, &lines);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions/listing.txt");
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
        return;
    }
    let listing = fs::read_to_string(&path).unwrap();
    let how = "if that is right: `cargo xtask drivers && NOOK_BLESS=1 cargo test --release -p nook-benches --test \
               instructions` writes it";
    if listing.lines().any(|line| line == maker) {
        let old: Vec<_> = listing.lines().filter(|line| !found.lines().any(|it| it == *line)).collect();
        let new: Vec<_> = found.lines().filter(|line| !listing.lines().any(|it| it == *line)).collect();
        assert!(listing == found, "the listing has\n{}\nand now there is\n{}\n{how}", old.join("\n"), new.join("\n"));
    } else {
        let (listed, found) = (read(&listing), read(&found));
        let longer = listed.iter().filter(|(name, count)| {
            found.get(*name).is_some_and(|found| *found as f64 > **count as f64 * (1.0 + TOLERANCE))
        });
        let longer: Vec<_> = longer.map(|(name, count)| format!("{name}: {count}, now {}", found[name])).collect();
        assert!(longer.is_empty(), "with {maker}, more than a tenth longer:\n{}\n{how}", longer.join("\n"));
    }
}
