//! Mistakes in single instructions, and in the test program's own file.

use iced_x86::{Decoder, DecoderOptions};
use nook_seed::Rng;

use super::*;

/// Returns what a class makes of the first instruction of this code, at any draw, as text.
fn made(class: CodeClass, code: &[u8]) -> Vec<String> {
    let all: Vec<_> = Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).into_iter().collect();
    let (instruction, next) = all.split_first().unwrap();
    let (begin, bytes) = (0xff0, &code[..instruction.len()]);
    let place = Place { form: ObjectForm::Shared, begin, instruction, bytes, next };
    let mut all: Vec<_> = (0..200).filter_map(|seed| mistake(class, &place, &mut Rng::new(seed))).collect();
    all.iter().for_each(|other| assert!(other.len() == bytes.len() && other != bytes, "{class:?}: {other:02x?}"));
    all.sort();
    all.dedup();
    let words = |bytes: &Vec<u8>| {
        let decoder = Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE);
        decoder.into_iter().map(|one| text(&one)).collect::<Vec<_>>().join("; ")
    };
    all.iter().map(words).collect()
}

#[test]
fn each_class_changes_what_its_name_says_and_no_length() {
    let sub = [0x29, 0xd8]; // sub eax, ebx
    assert!(made(CodeClass::Source, &sub).contains(&"sub eax,ecx".to_owned()));
    assert!(made(CodeClass::Destination, &sub).contains(&"sub edx,ebx".to_owned()));
    assert_eq!(made(CodeClass::Operation, &sub).len(), 4);
    assert!(made(CodeClass::Operation, &sub).contains(&"add eax,ebx".to_owned()));
    let mov = [0xb8, 5, 0, 0, 0]; // mov eax, 5
    assert!(made(CodeClass::Constant, &mov).contains(&"mov eax,6h".to_owned()));
    assert_eq!(made(CodeClass::Initialisation, &mov), ["nop; nop; nop; nop; nop"]);
    let jl = [0x7c, 0xf6]; // jl 0xff8, backwards
    assert_eq!(made(CodeClass::LoopBound, &jl), ["jle 0FF8h"]);
    assert_eq!(made(CodeClass::Condition, &jl).len(), 2);
    assert_eq!(made(CodeClass::Branch, &jl).len(), 3);
    assert!(made(CodeClass::EndlessLoop, &jl)[0].starts_with("jmp"));
    assert!(made(CodeClass::EndlessLoop, &[0x7c, 0x10]).is_empty(), "forwards is no loop");
    let far = [0x0f, 0x8c, 0xf0, 0xff, 0xff, 0xff]; // the same, of 32 bits
    let target = |code: &[u8]| Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).decode().near_branch_target();
    assert!(made(CodeClass::EndlessLoop, &far)[0].ends_with(&format!("{:X}h", target(&far))), "JMP goes where JL went");
    let load = [0x8b, 0x47, 0x10]; // mov eax, [rdi + 16]
    assert!(made(CodeClass::Pointer, &load).len() > 10);
    assert!(made(CodeClass::Pointer, &[0x8b, 0x44, 0x24, 0x10]).is_empty(), "that is the stack");
    assert_eq!(made(CodeClass::Stack, &[0x48, 0x83, 0xec, 0x20]).len(), 3);
    assert_eq!(made(CodeClass::BulkLength, &[0xf3, 0x48, 0xa5]).len(), 1);
    assert_eq!(made(CodeClass::Barrier, &[0x0f, 0xae, 0xf0]), ["nop; nop; nop"]);
    assert_eq!(made(CodeClass::Leak, &[0x89, 0x07]), ["nop; nop"], "mov [rdi], eax");
}

#[test]
fn a_hostcall_is_known_by_its_place_in_the_table() {
    let row = nook_abi::HOSTCALLS.iter().position(|row| row.name == "mmio_write32").unwrap();
    let at = u8::try_from(8 * (row + 1)).unwrap();
    let call = [0xff, 0x50, at]; // call [rax + at]
    assert_eq!(made(CodeClass::RegisterWrite, &call), ["nop; nop; nop"]);
    assert!(made(CodeClass::Leak, &call).is_empty());
    let argument = [&[0x89, 0xda][..], &call].concat(); // mov edx, ebx
    assert!(made(CodeClass::Argument, &argument).contains(&"mov edx,ecx".to_owned()));
    assert!(made(CodeClass::Argument, &[0x89, 0xda, 0xff, 0x50, 0x04]).is_empty(), "between two places");
}

#[test]
fn a_mistake_follows_from_its_seed_and_changes_its_own_bytes_only() {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let sites = MachineSites::of(&file, ObjectForm::Program).unwrap();
    assert!(sites.count(CodeClass::Branch) > 100);
    for seed in 0..40 {
        let one = sites.draw(seed).unwrap();
        assert_eq!(one, sites.draw(seed).unwrap());
        let mut changed = file.clone();
        one.make(&mut changed);
        let (from, to) = (one.offset, one.offset + one.bytes.len());
        assert!(changed[from..to] == one.bytes && changed[from..to] != file[from..to], "{}", one.what);
        assert!(changed[..from] == file[..from] && changed[to..] == file[to..], "{}", one.what);
    }
    assert!(MachineSites::of(b"no file of code", ObjectForm::Shared).is_err());
}

#[test]
fn what_is_the_standard_librarys_or_the_channels_is_not_the_drivers() {
    let of_program = |name| is_the_drivers(name, ObjectForm::Program);
    for name in [
        "_ZN18nook_process_guest3run3run17h3b20ec651202957bE",
        "_ZN70_$LT$nook_process_guest..kernel..Calls$u20$as$u20$nook_sdk..Kernel$GT$4poll17h3b20ec651202957bE",
        "_RNvNtCsjrHSEGnQ3l9_3std2rt4init",
        "malloc",
    ] {
        assert!(!of_program(name), "{name}");
    }
    for name in [
        "_ZN10e1000_wasm5setup4rctl17h3b20ec651202957bE",
        "_ZN107_$LT$e1000_wasm..driver..E1000$LT$K$GT$$u20$as$u20$nook_sdk..NetDriver$LT$nook_process_guest..Calls$GT$$GT$4poll17h3b20ec651202957bE",
    ] {
        assert!(of_program(name), "{name}");
    }
}
