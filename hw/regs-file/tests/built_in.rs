//! The maps that are compiled in, written to files and read again.

use nook_regs::RegisterMap;
use nook_regs_file::{allows, read, write};

const MAPS: [&RegisterMap; 9] = [
    &e1000_regs::MAP,
    &edu_regs::MAP,
    &igb_regs::MAP,
    &serial_regs::MAP,
    &virtio_regs::blk::MAP,
    &virtio_regs::console::MAP,
    &virtio_regs::net::MAP,
    &virtio_regs::rng::MAP,
    &vmxnet3_regs::MAP,
];

#[test]
fn each_map_comes_back_as_it_was() {
    for map in MAPS {
        let text = write(map);
        let file = read(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", map.name()));
        assert_eq!(file.map, map, "{}", map.name());
        assert_eq!(write(file.map), text, "{}", map.name());
    }
}

#[test]
fn each_registers_line_is_known() {
    for map in MAPS {
        let text = write(map);
        let file = read(&text).expect("a map");
        for (info, &line) in file.map.registers().iter().zip(&file.lines) {
            let at = text.lines().skip(line - 1).take(2).collect::<Vec<_>>();
            assert_eq!(at, ["[[register]]".to_owned(), format!("name = \"{}\"", info.name)]);
        }
    }
}

/// Returns the registers that are warned about.
fn warned(text: &str) -> Vec<String> {
    let warnings = allows(&read(text).expect("a map"));
    let of = |line: &str| line.strip_prefix("  WARNING ").and_then(|rest| rest.split('`').nth(1)).map(str::to_owned);
    warnings.lines().filter_map(of).collect()
}

#[test]
fn no_register_of_theirs_is_warned_about() {
    let all: Vec<_> = MAPS.iter().flat_map(|map| warned(&write(map))).collect();
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn names_and_sections_that_suggest_an_address_are_warned_about() {
    const HEAD: &str =
        "format = 1\nname = \"s\"\npci = [\"1234:5678\"]\nbar = [{ index = 0, space = \"memory\", bytes = 64 }]\n";
    let warns = |name: &str, section: &str, more: &str| {
        let register = format!("name = \"{name}\"\nbar = 0\noffset = 0\nsection = \"{section}\"\n{more}");
        !warned(&format!("{HEAD}[[register]]\n{register}")).is_empty()
    };
    const WORD: &str = "width = 32\naccess = \"rw\"";
    for name in [
        "TDBAL",
        "RDBAH1",
        "ERSTBA",
        "TX_BASE",
        "TX_BASE_LO",
        "RxRing",
        "BUF_ADDR_0",
        "RING_2",
        "DESC_PTR",
        "RBSTART",
        "TSAD0",
        "ASQ",
    ] {
        assert!(warns(name, "1", WORD), "{name}");
    }
    for section in ["Admin Submission Queue Base Address", "table 4, transmit start address", "the ring's descriptors"]
    {
        assert!(warns("R", section, WORD), "{section}");
    }
    for (name, section) in [("CTRL", "3.1"), ("PBA", "13.5"), ("MODE", "based on what was addressed")] {
        assert!(!warns(name, section, WORD), "{name} {section}");
    }
    for more in [
        "width = 32\naccess = \"ro\"",
        "width = 32\naccess = \"forbidden\"",
        "width = 16\naccess = \"rw\"",
        "width = 32\naccess = \"rw\"\nwrite = \"dma_base_high\"",
    ] {
        assert!(!warns("TDBAL", "base address", more), "{more}");
    }
}

#[test]
fn what_the_e1000_map_allows_is_listed() {
    let text = allows(&read(&write(&e1000_regs::MAP)).expect("a map"));
    for line in [
        "  map           `e1000` for 8086:100e, 8086:100f, 8086:10d3",
        "  DMA bases     RDBAL, RDBAH, TDBAL, TDBAH, RDBAL1, RDBAH1 (only addresses in the driver's DMA window)",
        "  guarded       EECD",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn an_address_register_without_its_effect_is_warned_about() {
    let text = write(&e1000_regs::MAP).replace("write = \"dma_base\"\n", "");
    assert_eq!(warned(&text), ["RDBAL", "TDBAL", "RDBAL1"]);
    let warnings = allows(&read(&text).expect("a map"));
    for register in ["RDBAL", "TDBAL", "RDBAL1"] {
        let line = text.lines().position(|line| line == format!("name = \"{register}\"")).expect("the register");
        let warning = format!("  WARNING       line {line}, `{register}`: its name has `BAL`");
        assert!(warnings.contains(&warning), "{warning}\n{warnings}");
    }
}
