//! Drivers that are wrong in one respect each, as WebAssembly text.

/// A driver that loads and, unless it is changed, comes up and then does nothing.
pub struct Module {
    pub imports: &'static str,
    pub memory: &'static str,
    pub entries: &'static str,
    pub poll: &'static str,
    pub probe: &'static str,
    pub more: &'static str,
    pub manifests: Vec<String>,
}

/// A manifest without a mistake, for the card that the embedded model is.
pub const MANIFEST: &str = "abi = 1.0\nname = crash-dummy\nversion = 1\nlicense = Apache-2.0\nclass = net\n\
                            pci = 8086:100e\nregisters = e1000\ndma_bytes = 4096\ndma_mask_bits = 64\n";

pub const ATTACH: &str = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))"#;

/// A probe that attaches an interface with the address 52:54:00:00:00:01.
pub const PROBE: &str = r#"(func (export "nook_probe") (param i32 i32) (result i32)
    (call $attach (i64.const 0x010000005452) (i32.const 1500)))"#;

pub const POLL: &str = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (i32.const 0))"#;

const ENTRIES: &str = r#"
    (func (export "nook_remove"))
    (func (export "nook_open") (result i32) (i32.const 0))
    (func (export "nook_stop") (result i32) (i32.const 0))
    (func (export "nook_irq") (param i32) (result i32) (i32.const 0))"#;

impl Default for Module {
    fn default() -> Self {
        Module {
            imports: ATTACH,
            memory: r#"(memory (export "memory") 1)"#,
            entries: ENTRIES,
            poll: POLL,
            probe: PROBE,
            more: "",
            manifests: vec![MANIFEST.to_owned()],
        }
    }
}

impl Module {
    /// With a line of the manifest replaced: `key` and its new line, which may be nothing.
    pub fn with_line(key: &str, line: &str) -> Self {
        let keep = |old: &str| if old.starts_with(key) { format!("{line}\n") } else { format!("{old}\n") };
        Module { manifests: vec![MANIFEST.lines().map(keep).collect()], ..Module::default() }
    }

    pub fn wasm(&self) -> Vec<u8> {
        let Module { imports, memory, entries, poll, probe, more, manifests } = self;
        let escape = |text: &String| text.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let sections = manifests.iter().map(|text| format!("(@custom \"nook.manifest\" \"{}\")", escape(text)));
        let sections: String = sections.collect();
        let text = format!("(module {imports} {memory} {entries} {poll} {probe} {more} {sections})");
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}
