//! The maps that are compiled in, written to files and read again.

use nook_regs::RegisterMap;
use nook_regs_file::{allows, read, write};

const MAPS: [&RegisterMap; 3] = [&e1000_regs::MAP, &edu_regs::MAP, &vmxnet3_regs::MAP];

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
fn one_register_of_theirs_is_warned_about_for_nothing() {
    // PBA has the ending of an address, and divides the packet buffer.
    let all: Vec<_> = MAPS.iter().flat_map(|map| warned(&write(map))).collect();
    assert_eq!(all, ["PBA"]);
}

#[test]
fn what_the_e1000_map_allows_is_told() {
    let text = allows(&read(&write(&e1000_regs::MAP)).expect("a map"));
    for line in [
        "  map           `e1000` for 8086:100e, 8086:100f, 8086:10d3",
        "  DMA bases     RDBAL, RDBAH, TDBAL, TDBAH (only addresses in the driver's DMA window)",
        "  guarded       EECD",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn an_address_register_without_its_effect_is_warned_about() {
    let text = write(&e1000_regs::MAP).replace("write = \"dma_base\"\n", "");
    assert_eq!(warned(&text), ["PBA", "RDBAL", "TDBAL"]);
    let warnings = allows(&read(&text).expect("a map"));
    for register in ["RDBAL", "TDBAL"] {
        let line = text.lines().position(|line| line == format!("name = \"{register}\"")).expect("the register");
        let warning = format!("  WARNING       line {line}, `{register}`: its name has `BAL`");
        assert!(warnings.contains(&warning), "{warning}\n{warnings}");
    }
}
