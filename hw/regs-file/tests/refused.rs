//! What is no register map, and what is said of it: where, and what is allowed.

use nook_regs::{Access, LinkBits, Needs, ReadEffect, RegisterInfo, Restore, WriteEffect};
use nook_regs_file::{MAX_BYTES, read, write};

const HEAD: &str = r#"format = 1
name = "sample"
pci = ["1234:5678"]
[[bar]]
index = 0
space = "memory"
bytes = 0x100
"#;

const REGISTER: &str = r#"[[register]]
name = "R"
bar = 0
offset = 0
width = 32
access = "rw"
section = "1"
"#;

/// What is refused, with what it is changed to, and the message.
const HEADS: &[(&str, &str, &str)] = &[
    (
        "format = 1",
        "format = 2",
        "line 1, column 10: `format`, the version of the schema, is a number from 1 to 1, and not `2`",
    ),
    ("format = 1\n", "", "line 1, column 1: a register map lacks `format`"),
    (
        "format",
        "formats",
        "line 1, column 1: a register map has no `formats`; it can have `format`, `name`, `pci`, `bar`, `register`",
    ),
    (
        "\"sample\"",
        "\"a sample\"",
        "line 2, column 8: a map's `name` is 1 to 64 letters, digits and `_` `-` `.`, and not `a sample`",
    ),
    ("\"sample\"", "7", "line 2, column 8: a map's `name` is 1 to 64 letters, digits and `_` `-` `.`, and not `7`"),
    ("[\"1234:5678\"]", "[]", "line 3, column 7: `pci` names no device: a map is for devices that it names"),
    (
        "1234:5678",
        "1234:567",
        "line 3, column 8: an item of `pci` is \"vendor:device\", each four hexadecimal digits, such as \"8086:100e\", or \
         \"class:\" and six, such as \"class:010802\"",
    ),
    (
        "1234:5678",
        "class:0108",
        "line 3, column 8: an item of `pci` is \"vendor:device\", each four hexadecimal digits, such as \"8086:100e\", or \
         \"class:\" and six, such as \"class:010802\"",
    ),
    ("1234:5678", "class:010802\", \"class:010802", "line 3, column 24: `pci` has class:010802 twice"),
    ("[\"1234:5678\"]", "[\"1234:5678\", \"1234:5678\"]", "line 3, column 21: `pci` has 1234:5678 twice"),
    ("index = 0", "index = 6", "line 5, column 9: a bar's `index` is a number from 0 to 5, and not `6`"),
    ("memory", "ram", "line 6, column 9: a bar's `space` is \"memory\" or \"io\", and not `ram`"),
    ("0x100", "0", "line 7, column 9: a bar's length, `bytes`, is a number from 1 to 0xffffffff, and not `0`"),
    ("0x100", "-1", "line 7, column 9: a bar's length, `bytes`, is a number from 1 to 0xffffffff, and not `-1`"),
    (
        "0x100",
        "1.5",
        "line 7, column 9: a bar's length, `bytes`, is a number from 1 to 0xffffffff, and not a value of type float",
    ),
];

const REGISTERS: &[(&str, &str, &str)] = &[
    ("name = \"R\"\n", "", "line 8, column 1: a `register` lacks `name`"),
    (
        "\"R\"",
        "\"R \\u001b\"",
        "line 9, column 8: a register's `name` is 1 to 64 letters, digits and `_`, and not `R \u{fffd}`",
    ),
    ("bar = 0", "bar = 1", "line 8, column 1: map `sample`: register `R` is in a BAR that the map does not describe"),
    ("offset = 0", "offset = 2", "line 8, column 1: map `sample`: register `R` is not aligned to its width"),
    ("offset = 0", "offset = 0x100", "line 8, column 1: map `sample`: register `R` ends after its BAR"),
    ("width = 32", "width = 24", "line 12, column 9: a register's `width` in bits is 8, 16, 32 or 64"),
    (
        "\"rw\"",
        "\"rx\"",
        "line 13, column 10: a register's `access` is \"ro\", \"wo\", \"rw\" or \"forbidden\", and not `rx`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ncolour = 1",
        "line 15, column 1: a `register` has no `colour`; it can have `name`, `bar`, `offset`, `width`, `count`, `stride`, `access`, `section`, `read`, `write`, `posts_only`, `ready`, `held_up`, `needs`, `link`, `restore`, `fields`, `guard`, `transfer`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ncount = 2",
        "line 15, column 9: an array has both `count` and `stride`, and another register has neither",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nread = \"clears\"",
        "line 15, column 8: what reading does, `read`, is \"none\", \"clears_or\", \"clears_add\", \"clears_pair\", \"pops\" or \"other\", and not `clears`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nwrite = \"dma\"",
        "line 15, column 9: what writing does, `write`, is \"plain\", \"one_clears\", \"dma_base\", \"dma_base_or_zero\", \"dma_base_high\", \"doorbell\" or \"command\", or { reset = BITS }",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nwrite = { reset = 0x1_0000_0000 }",
        "line 15, column 19: what resets is a number from 0 to 0xffffffff, and not `0x100000000`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nwrite = { reset = 0 }",
        "line 8, column 1: map `sample`: register `R` has an effect with bits that it does not have, or with none",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nrestore = { quiet = 1, reset_by = 1 }",
        "line 15, column 11: `restore` is \"nothing\", \"written\", \"held\", \"mask\" or \"switch\", or { quiet = VALUE } or { reset_by = BITS }",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nneeds = { open = 1, link = 1 }",
        "line 15, column 9: `needs` is { open = BITS } or { link = BITS }",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nneeds = { link = 0 }",
        "line 8, column 1: map `sample`: register `R` needs bits that it does not have, or none, or is an array, or cannot be read without effect",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nlink = { up = 1 }",
        "line 15, column 8: `link` is { set = BITS } or { clear = BITS }",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nlink = { set = 0 }",
        "line 8, column 1: map `sample`: register `R` tells of a link with bits that it does not have, or none, or is an array, or cannot be read without effect",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nposts_only = 1",
        "line 15, column 14: `posts_only` is true or false, and not `1`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nfields = [{ name = \"F\" }]",
        "line 15, column 11: a field has either `bit` or `bits`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nfields = [{ name = \"F\", bits = [3, 2] }]",
        "line 15, column 36: a field's highest bit is a number from 3 to 31, and not `2`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nguard = { state = [{ name = \"s\", rules = [{}] }] }",
        "line 15, column 43: a rule has one of `then`, `to` and `refuse`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nguard = { state = [{ name = \"s\", rules = [{ to = \"t\" }] }] }",
        "line 15, column 50: the guard has no state `t`; `to` can be \"s\"",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nguard = { state = [{ name = \"s\", rules = [{ then = \"next\" }] }] }",
        "line 8, column 1: map `sample`: register `R` has a guard that goes on to a state that there is not, from its state `s`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\nguard = { state = [] }",
        "line 8, column 1: map `sample`: register `R` has a guard without states, with more than 256, or with a state that has no name, another's, or no repetition",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ntransfer = { start = 1, length = \"N\" }",
        "line 15, column 12: a `transfer` lacks `directions`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ntransfer = { start = 1, length = \"N\", directions = [{ places = [{ register = \"A\", in = [2] }] }] }",
        "line 15, column 88: where a place lies, `in`, is \"window\", or the first and the last address in the device: [0, 4095]",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ntransfer = { start = 1, length = \"N\", directions = [{ places = [{ register = \"A\", in = [2, 1] }] }] }",
        "line 15, column 92: where a place lies, `in`, is a number from 2 to 0xffffffffffffffff, and not `1`",
    ),
    (
        "section = \"1\"",
        "section = \"1\"\ntransfer = { start = 1, length = \"N\", directions = [{ places = [{ register = \"R\", in = \"window\" }] }] }",
        "line 8, column 1: map `sample`: register `R` starts transfers with what is in a register that is not there, is an array, is not written, has an effect, a guard or a restore, or is too narrow for an address: `N`",
    ),
];

#[test]
fn what_is_wrong_is_reported_with_its_place_and_what_is_allowed() {
    let whole = [HEAD, REGISTER].concat();
    assert!(read(&whole).is_ok());
    for (part, cases) in [(HEAD, HEADS), (REGISTER, REGISTERS)] {
        for &(from, to, says) in cases {
            assert!(part.contains(from), "{from}");
            let text = whole.replace(part, &part.replacen(from, to, 1));
            let error = read(&text).expect_err(says);
            assert_eq!(error.to_string(), says);
        }
    }
}

#[test]
fn what_is_not_toml_is_reported_with_its_place() {
    let error = read("format = 1\nname = \"a\npci = []\n").unwrap_err();
    assert_eq!(error.line, 2, "{error}");
    let error = read("format = 1\nformat = 1\n").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1), "{error}");
}

#[test]
fn a_register_that_stands_twice_is_wrong_where_it_does_so_again() {
    let again = REGISTER.replace("offset = 0", "offset = 4");
    let error = read(&[HEAD, REGISTER, &again].concat()).unwrap_err();
    assert_eq!(error.to_string(), "line 15, column 1: map `sample`: register `R` has the name of another register");
}

#[test]
fn sixty_four_bits_are_read_without_a_sign() {
    let wide = REGISTER.replace("width = 32", "width = 64\nwrite = { reset = 0xffff_ffff_ffff_ffff }");
    let file = read(&[HEAD, &wide].concat()).unwrap();
    assert!(write(file.map).contains("write = { reset = 0xffffffffffffffff }"));
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let error = read(&" ".repeat(MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 1: the file is longer than 1 MiB, which is the limit");
}

#[test]
fn the_examples_of_the_documentation_are_a_map() {
    let page = include_str!("../../../docs/register-maps.md");
    let mut blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("toml\n"));
    let mut block = || blocks.next().expect("a map, a guard and a transfer");
    let file = read(&[block(), block(), block()].concat()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.map.registers().len(), 7);
    assert_eq!(file.map.named("MOVE").and_then(|info| info.transfer).map(|moves| moves.directions.len()), Some(2));
    assert_eq!(file.map.named("FILTER").and_then(|info| info.guard).map(|guard| guard.states.len()), Some(3));
}

/// Returns whether a map has everything that a register can say, but for guards and transfers: a match without a rest
/// for each, so that what is added is missed here.
fn kinds(info: &RegisterInfo) -> [Option<usize>; 6] {
    let read = match info.read {
        ReadEffect::None => 0,
        ReadEffect::ClearsOr => 1,
        ReadEffect::ClearsAdd => 2,
        ReadEffect::ClearsPair => 3,
        ReadEffect::Pops => 4,
        ReadEffect::Other => 5,
    };
    let write = match info.write {
        WriteEffect::Plain => 0,
        WriteEffect::OneClears => 1,
        WriteEffect::DmaBase => 2,
        WriteEffect::DmaBaseOrZero => 3,
        WriteEffect::DmaBaseHigh => 4,
        WriteEffect::Doorbell => 5,
        WriteEffect::Command => 6,
        WriteEffect::Reset(_) => 7,
    };
    let restore = match info.restore {
        Restore::Nothing => 0,
        Restore::Written => 1,
        Restore::Held => 2,
        Restore::Mask => 3,
        Restore::Switch => 4,
        Restore::Quiet(_) => 5,
        Restore::ResetBy(_) => 6,
    };
    let access = match info.access {
        Access::Ro => 0,
        Access::Wo => 1,
        Access::Rw => 2,
        Access::Forbidden => 3,
    };
    let other = match (info.needs, info.posts_only, info.ready.is_some(), info.held_up) {
        (Needs::Open(_), ..) => Some(0),
        (Needs::Link(_), ..) => Some(1),
        (Needs::Nothing, true, ..) => Some(2),
        (Needs::Nothing, false, true, _) => Some(3),
        (Needs::Nothing, false, false, 1..) => Some(4),
        (Needs::Nothing, false, false, 0) => None,
    };
    let link = match info.link {
        LinkBits::Nothing => None,
        LinkBits::Set(_) => Some(0),
        LinkBits::Clear(_) => Some(1),
    };
    [Some(read), Some(write), Some(restore), Some(access), other, link]
}

#[test]
fn the_map_with_every_effect_has_every_effect() {
    let page = include_str!("../../../docs/map-effects.md");
    let (_, block) = page.split_once("```toml\n").unwrap();
    let file = read(block.split("```").next().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let registers = file.map.registers();
    for (kind, count) in [6, 8, 7, 4, 5, 2].into_iter().enumerate() {
        for variant in 0..count {
            assert!(registers.iter().any(|info| kinds(info)[kind] == Some(variant)), "kind {kind}, variant {variant}");
        }
    }
    // The same registers stand in the other form, which is compiled.
    for info in registers {
        assert!(page.contains(&format!("\n    {}: ", info.name)), "{}", info.name);
    }
}
