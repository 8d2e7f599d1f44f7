//! Instructions that no object may contain: those that change rights, at whatever byte they begin, and those that call
//! the system or take from a thread what its handlers need.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, Register};

const MOVES: &str = "which moves the thread's own memory from under its handlers";
const FAR: &str = "which may change the processor's mode";

/// Looks through the bytes of a segment that begins at `at`.
pub(crate) fn check(bytes: &[u8], at: u64) -> Result<(), String> {
    // WRPKRU is 0F 01 EF; XRSTOR is 0F AE /5 with a memory operand (Intel's manual, volume 2).
    for (offset, window) in bytes.windows(3).enumerate() {
        let name = match *window {
            [0x0f, 0x01, 0xef] => "WRPKRU",
            [0x0f, 0xae, modrm] if modrm >> 3 & 7 == 5 && modrm >> 6 != 3 => "XRSTOR",
            _ => continue,
        };
        return Err(format!("its code has the bytes of {name} at {:#x}, which changes rights", at + offset as u64));
    }
    let mut decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let at = instruction.ip();
        let thread_pointer = |register| matches!(register, Register::FS | Register::GS);
        let why = match (instruction.code(), instruction.mnemonic()) {
            // The decoder has gone past bytes that another reader could take for the next instruction.
            (Code::INVALID, _) => return Err(format!("its code has bytes at {at:#x} that are no instruction")),
            (Code::Syscall | Code::Sysenter | Code::Int_imm8 | Code::Int1, _) => "which calls the system",
            (_, Mnemonic::Wrfsbase | Mnemonic::Wrgsbase | Mnemonic::Lfs | Mnemonic::Lgs) => MOVES,
            (_, Mnemonic::Mov | Mnemonic::Pop) if thread_pointer(instruction.op0_register()) => MOVES,
            (_, Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq | Mnemonic::Retf) => FAR,
            (_, Mnemonic::Jmp | Mnemonic::Call) if instruction.is_jmp_far() || instruction.is_call_far() => FAR,
            (Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664, _) => FAR,
            (Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664, _) => FAR,
            _ => continue,
        };
        let name = format!("{:?}", instruction.mnemonic()).to_uppercase();
        return Err(format!("its code has the instruction {name} at {at:#x}, {why}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_key_is_found_at_any_byte_and_what_calls_the_system_where_an_instruction_begins() {
        let said = |bytes: &[u8]| check(bytes, 0x1000).err().unwrap_or_default();
        assert!(said(&[0x90, 0x0f, 0x01, 0xef]).contains("WRPKRU at 0x1001"));
        // mov eax, 0xef010f: in the middle of an instruction.
        assert!(said(&[0xb8, 0x0f, 0x01, 0xef, 0x00]).contains("WRPKRU at 0x1001"));
        assert!(said(&[0x0f, 0xae, 0x28]).contains("XRSTOR"), "of [rax]");
        assert!(said(&[0x48, 0x0f, 0xae, 0x6c, 0x24, 0x40]).contains("XRSTOR at 0x1001"), "of 64 bits, [rsp + 64]");
        assert_eq!(said(&[0x0f, 0xae, 0xe8]), "", "LFENCE");
        assert_eq!(said(&[0x0f, 0xae, 0x20]), "", "XSAVE changes nothing");
        assert!(said(&[0x90, 0x0f, 0x05]).contains("SYSCALL at 0x1001"));
        assert!(said(&[0x0f, 0x34]).contains("SYSENTER"));
        assert!(said(&[0xcd, 0x80]).contains("INT at 0x1000"));
        assert!(said(&[0xf1]).contains("INT1"));
        assert!(said(&[0xf3, 0x0f, 0xae, 0xd0]).contains("WRFSBASE"));
        assert!(said(&[0x8e, 0xe0]).contains("MOV at 0x1000"), "fs, eax");
        assert!(said(&[0x0f, 0xa9]).contains("POP at 0x1000"), "gs");
        assert!(said(&[0x0f, 0xb4, 0x00]).contains("LFS"));
        assert!(said(&[0x48, 0xcf]).contains("IRETQ"));
        assert!(said(&[0xcb]).contains("RETF"));
        assert!(said(&[0xff, 0x28]).contains("JMP"), "far [rax]");
        assert!(said(&[0xff, 0x18]).contains("CALL"), "far [rax]");
        assert_eq!(said(&[0xff, 0x20]), "", "jmp [rax]");
        assert!(said(&[0x06, 0x90]).contains("no instruction"), "push es, in other modes");
        assert_eq!(said(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]), "", "a load by fs");
        assert_eq!(said(&[0xcc, 0xcc]), "", "padding");
        assert_eq!(said(&[0xb8, 0x0f, 0x05, 0x00, 0x00]), "", "a number");
    }
}
