//! Linux's driver of the e1000, as `cargo xtask drivers --with linux` makes it: how descriptors change hands in what
//! was compiled. That it does what our own driver does is shown by other tests, with `NOOK_TEST_DRIVER=linux-e1000`.

use std::collections::BTreeMap;
use std::fs;

use nook_tests::driver_file;
use wasmparser::{FunctionBody, KnownCustom, Name, Operator, Parser, Payload};

/// Linux's functions that touch a ring, and what they must do one after the other, in the order of the code.
const FUNCTIONS: [(&str, &[Step]); 4] = [
    // Descriptors are whole before the doorbell.
    ("e1000_xmit_frame", &[Step::PutsAddress, Step::Fence, Step::WritesRegister]),
    ("e1000_alloc_rx_buffers", &[Step::PutsAddress, Step::Fence, Step::WritesRegister]),
    // What else stands in a descriptor is read after the device said that it is done with it.
    ("e1000_clean", &[Step::LooksAtStatus, Step::Fence]),
    ("e1000_clean_rx_irq", &[Step::LooksAtStatus, Step::Fence]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LooksAtStatus,
    PutsAddress,
    Fence,
    WritesRegister,
}

/// Bytes from the start of a descriptor of either ring to the buffer's address and to the status (8254x manual,
/// sections 3.2.3 and 3.3.3).
const ADDRESS: u64 = 0;
const STATUS: u64 = 12;

struct Module<'a> {
    /// Which of the imports writes a register.
    write: u32,
    imports: u32,
    bodies: Vec<FunctionBody<'a>>,
    names: BTreeMap<&'a str, u32>,
}

fn read(wasm: &[u8]) -> Module<'_> {
    let mut module = Module { write: 0, imports: 0, bodies: Vec::new(), names: BTreeMap::new() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                let names: Vec<_> = imports.into_imports().map(|import| import.unwrap().name).collect();
                module.imports = names.len() as u32;
                module.write = names.iter().position(|name| *name == "mmio_write32").unwrap() as u32;
            }
            Payload::CodeSectionEntry(body) => module.bodies.push(body),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(names) = section.as_known() else { continue };
                for part in names.into_iter().map(Result::unwrap) {
                    let Name::Function(functions) = part else { continue };
                    let named = functions.into_iter().map(Result::unwrap);
                    module.names.extend(named.map(|naming| (naming.name, naming.index)));
                }
            }
            _ => {}
        }
    }
    module
}

fn step(module: &Module<'_>, operator: &Operator<'_>) -> Option<Step> {
    match operator {
        Operator::AtomicFence => Some(Step::Fence),
        Operator::Call { function_index } if *function_index == module.write => Some(Step::WritesRegister),
        Operator::I64Store { memarg } if memarg.offset == ADDRESS => Some(Step::PutsAddress),
        Operator::I32Load8U { memarg } if memarg.offset == STATUS => Some(Step::LooksAtStatus),
        _ => None,
    }
}

#[test]
fn descriptors_change_hands_behind_fences_and_hostcalls() {
    let file = driver_file("linux-e1000");
    let wasm = fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers --with linux`", file.display()));
    let module = read(&wasm);
    for (name, expected) in FUNCTIONS {
        let index = module.names.get(name).unwrap_or_else(|| panic!("the module has no function `{name}`"));
        let body = &module.bodies[(index - module.imports) as usize];
        let operators = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap);
        let steps: Vec<_> = operators.filter_map(|operator| step(&module, &operator)).collect();
        assert!(steps.windows(expected.len()).any(|steps| steps == expected), "{name}: {steps:?}");
    }
}
