//! A map's registers as constants for the driver's own code, so that they are written once.

use std::fmt::{self, Write};

use anyhow::{Result, bail};
use clap::ValueEnum;
use nook_regs::{Access, BarSpace, RegisterInfo, RegisterMap, WriteEffect};

/// What constants are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A module of a driver in Rust, with `registers!`.
    Rust,
    /// A header.
    C,
}

/// Words that are no names in either language, of those that the names of registers can be.
const WORDS: &[&str] = &[
    "abstract", "as", "async", "auto", "await", "become", "box", "break", "case", "char", "const", "continue", "crate",
    "default", "do", "double", "dyn", "else", "enum", "extern", "false", "final", "float", "fn", "for", "gen", "goto",
    "if", "impl", "in", "inline", "int", "let", "long", "loop", "macro", "match", "mod", "move", "mut", "override",
    "priv", "pub", "ref", "register", "restrict", "return", "Self", "self", "short", "signed", "sizeof", "static",
    "struct", "super", "switch", "trait", "true", "try", "type", "typedef", "typeof", "union", "unsafe", "unsigned",
    "unsized", "use", "virtual", "void", "volatile", "where", "while", "yield", "_",
];

/// Returns the constants of a map: of each register that a driver may touch its place, its width (in Rust), and its
/// fields. What the host holds the driver to is the map, and not this.
///
/// # Errors
/// If a register or field has a name that is none in the language.
pub fn constants(map: &RegisterMap, language: Language) -> Result<String> {
    for info in touchable(map) {
        let own = |name: &str| ["MAP", "BAR", "FIELDS"].contains(&name);
        let names = [info.name].into_iter().chain(info.fields.iter().map(|field| field.name));
        if let Some(name) = names.into_iter().find(|name| !is_name(name) || own(name)) {
            bail!(
                "`{name}` of the register `{}` cannot be the name of a constant: rename it in the map, by which only reports \
                 call it",
                info.name
            );
        }
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match language {
        Language::Rust => rust(&mut text, map),
        Language::C => c(&mut text, map),
    };
    Ok(text)
}

fn is_name(name: &str) -> bool {
    !WORDS.contains(&name) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns the registers that are a driver's to touch.
fn touchable(map: &RegisterMap) -> impl Iterator<Item = &'static RegisterInfo> {
    map.registers().iter().filter(|info| info.access != Access::Forbidden)
}

fn rust(out: &mut String, map: &RegisterMap) -> fmt::Result {
    writeln!(
        out,
        "//! The registers of the map `{}`, made from its file by `nook-run map export --lang rust`.",
        map.name()
    )?;
    writeln!(out, "//! Names, places and fields, for the driver's code; what the driver may do is in the file alone.")?;
    for bar in map.bars() {
        let several = map.bars().len() > 1;
        if several {
            write!(out, "\n/// BAR {}.\npub mod bar{} {{", bar.index, bar.index)?;
        }
        let units = if bar.space == BarSpace::Io { "ports" } else { "bytes" };
        writeln!(out, "\nnook_regs::registers! {{")?;
        writeln!(out, "    /// The registers of BAR {}.", bar.index)?;
        writeln!(out, "    pub static MAP = {:?}, bar {}, {:#x} {units};\n", map.name(), bar.index, bar.len_bytes)?;
        touchable(map).filter(|info| info.bar == bar.index).try_for_each(|info| rust_register(out, info))?;
        writeln!(out, "}}")?;
        if several {
            writeln!(out, "}}")?;
        }
    }
    Ok(())
}

fn rust_register(out: &mut String, info: &RegisterInfo) -> fmt::Result {
    let RegisterInfo { name, offset, width, count, stride, access, write, section, fields, .. } = *info;
    let of = match count {
        1 => format!("u{}", width.bits()),
        _ => format!("[u{}; {count}; {stride}]", width.bits()),
    };
    // The one effect that a driver's own code goes by.
    let effect = if write == WriteEffect::Doorbell { ", write(Doorbell)" } else { "" };
    write!(out, "    {name}: {of} at {offset:#04x}, {access:?}, {section:?}{effect}")?;
    if fields.is_empty() {
        return writeln!(out, ";");
    }
    writeln!(out, " {{")?;
    for field in fields {
        match field.bits {
            1 => writeln!(out, "        {} = {},", field.name, field.shift)?,
            bits => writeln!(out, "        {} = {}..={},", field.name, field.shift, field.shift + bits - 1)?,
        }
    }
    writeln!(out, "    }}")
}

fn c(out: &mut String, map: &RegisterMap) -> fmt::Result {
    let guard = map.name().to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    writeln!(
        out,
        "/* The registers of the map {}, made from its file by nook-run map export --lang c: offsets in",
        map.name()
    )?;
    writeln!(out, "   bytes, and fields, for the driver's code; what the driver may do is in the file alone. */")?;
    writeln!(out, "#ifndef REGISTERS_{guard}_H\n#define REGISTERS_{guard}_H")?;
    if let [bar] = map.bars() {
        writeln!(out, "\n#define BAR {}u", bar.index)?;
    }
    touchable(map).try_for_each(|info| c_register(out, map, info))?;
    writeln!(out, "\n#endif")
}

fn c_register(out: &mut String, map: &RegisterMap, info: &RegisterInfo) -> fmt::Result {
    let RegisterInfo { name, bar, offset, width, count, stride, fields, .. } = *info;
    let comment = info.section.replace("*/", "* /");
    writeln!(out, "\n/* {comment}: {} bits. */", width.bits())?;
    if map.bars().len() > 1 {
        writeln!(out, "#define {name}_BAR {bar}u")?;
    }
    match count {
        1 => writeln!(out, "#define {name} {offset:#04x}u")?,
        _ => {
            writeln!(out, "#define {name}(index) ({offset:#04x}u + (index) * {stride}u)")?;
            writeln!(out, "#define {name}_COUNT {count}u")?;
        }
    }
    let suffix = if width.bits() == 64 { "ull" } else { "u" };
    for field in fields {
        let (of, mask) = (field.name, (u64::MAX >> (u64::BITS - field.bits)) << field.shift);
        match field.bits {
            1 => writeln!(out, "#define {name}_{of} {mask:#x}{suffix}")?,
            _ => {
                writeln!(out, "#define {name}_{of}_MASK {mask:#x}{suffix}")?;
                writeln!(out, "#define {name}_{of}_SHIFT {}", field.shift)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, language: Language) -> Result<String> {
        let head = "format = 1\nname = \"my-card\"\npci = [\"1234:5678\"]\n[[bar]]\nindex = 1\nspace = \"memory\"\nbytes = 0x100\n";
        let file = nook_regs_file::read(&format!("{head}{text}")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        constants(file.map, language)
    }

    const SOME: &str = r#"
        [[register]]
        name = "CTRL"
        bar = 1
        offset = 0x04
        width = 16
        access = "rw"
        section = "2.1 \"control\""
        fields = [{ name = "RST", bit = 3 }, { name = "RATE", bits = [8, 10] }]
        [[register]]
        name = "TAIL"
        bar = 1
        offset = 0x10
        width = 32
        count = 4
        stride = 8
        access = "wo"
        section = "2.2"
        write = "doorbell"
        [[register]]
        name = "FLASH"
        bar = 1
        offset = 0x40
        width = 64
        access = "forbidden"
        section = "9"
        "#;

    #[test]
    fn in_rust_they_are_a_declaration_without_what_no_driver_may_touch() {
        let text = of(SOME, Language::Rust).unwrap();
        for part in [
            "\nnook_regs::registers! {\n",
            "    pub static MAP = \"my-card\", bar 1, 0x100 bytes;\n",
            "    CTRL: u16 at 0x04, Rw, \"2.1 \\\"control\\\"\" {\n        RST = 3,\n        RATE = 8..=10,\n    }\n",
            "    TAIL: [u32; 4; 8] at 0x10, Wo, \"2.2\", write(Doorbell);\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("FLASH"), "{text}");
    }

    #[test]
    fn in_c_they_are_macros() {
        let text = of(SOME, Language::C).unwrap();
        for part in [
            "#define BAR 1u\n",
            "#define CTRL 0x04u\n#define CTRL_RST 0x8u\n#define CTRL_RATE_MASK 0x700u\n#define CTRL_RATE_SHIFT 8\n",
            "#define TAIL(index) (0x10u + (index) * 8u)\n#define TAIL_COUNT 4u\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("FLASH"), "{text}");
    }

    #[test]
    fn a_name_that_is_none_in_the_language_is_refused_with_what_to_do() {
        for name in ["type", "8BIT", "MAP"] {
            let named = SOME.replace("\"CTRL\"", &format!("\"{name}\""));
            let refused = of(&named, Language::Rust).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{name}`")) && refused.contains("rename it in the map"), "{refused}");
        }
    }

    #[test]
    fn each_built_in_map_has_constants() {
        for map in crate::maps::BUILT_IN {
            assert!(constants(map, Language::Rust).is_ok() && constants(map, Language::C).is_ok(), "{}", map.name());
        }
    }
}
