//! Machine code of one function: its instructions, found from its entry on, and its loops.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Instructions, by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub instructions: usize,
    /// Those that load from or store to the function's own frame.
    pub frame: usize,
    /// Those that load or store elsewhere.
    pub memory: usize,
    /// Calls.
    pub calls: usize,
}

impl Count {
    fn of<'a>(instructions: impl IntoIterator<Item = &'a Instruction>) -> Self {
        let mut count = Count::default();
        for instruction in instructions {
            count.instructions += 1;
            let accesses = (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
            if accesses && instruction.mnemonic() != Mnemonic::Lea {
                match instruction.memory_base() {
                    Register::RSP | Register::RBP => count.frame += 1,
                    _ => count.memory += 1,
                }
            }
            let flow = instruction.flow_control();
            count.calls += usize::from(matches!(flow, FlowControl::Call | FlowControl::IndirectCall));
        }
        count
    }
}

/// A function's code.
pub struct Function {
    instructions: BTreeMap<u64, Instruction>,
    /// Where each instruction may lead to, if that is not only the next one.
    branches: BTreeMap<u64, Vec<u64>>,
}

impl Function {
    /// Follows the code from its first byte on, which has this address, wherever it leads in this function. What lies
    /// between (constants, tables of jumps) is not taken for code.
    ///
    /// # Panics
    /// If there is something that is no code, or leads out of the function.
    pub fn read(bytes: &[u8], address: u64) -> Self {
        let end = address + bytes.len() as u64;
        let mut function = Function { instructions: BTreeMap::new(), branches: BTreeMap::new() };
        let mut open = vec![address];
        while let Some(at) = open.pop() {
            assert!((address..end).contains(&at), "a branch leads out of its function, to {at:#x}");
            if function.instructions.contains_key(&at) {
                continue;
            }
            let rest = &bytes[(at - address) as usize..];
            let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            assert!(!instruction.is_invalid(), "no instruction at {at:#x}");
            function.instructions.insert(at, instruction);
            let next = match instruction.flow_control() {
                FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt => vec![],
                FlowControl::UnconditionalBranch => vec![instruction.near_branch_target()],
                FlowControl::ConditionalBranch => vec![instruction.near_branch_target(), instruction.next_ip()],
                FlowControl::IndirectBranch => {
                    let most = function.highest_case(at).map_or(usize::MAX, |highest| highest + 1);
                    let mut targets = table(bytes, address, instruction.next_ip());
                    targets.truncate(most);
                    targets
                }
                _ => {
                    open.push(instruction.next_ip());
                    continue;
                }
            };
            open.extend(&next);
            function.branches.insert(at, next);
        }
        function
    }

    /// Returns the last place of the table by which the jump at `at` goes, if the code before it sees to it that none
    /// beyond it is taken: `mov ecx, last; cmp edx, ecx; cmovb ecx, edx`.
    fn highest_case(&self, at: u64) -> Option<usize> {
        let mut before = self.instructions.range(..at).rev().map(|(_, instruction)| instruction).take(16);
        let case = before.find(|it| it.mnemonic() == Mnemonic::Cmovb)?.op0_register();
        let last = before.find(|it| it.mnemonic() == Mnemonic::Mov && it.op0_register() == case)?;
        (last.op1_kind() == OpKind::Immediate32).then(|| last.immediate32() as usize)
    }

    /// Counts all of it.
    pub fn count(&self) -> Count {
        Count::of(self.instructions.values())
    }

    /// Returns where the functions begin that are called by their address.
    pub fn callees(&self) -> BTreeSet<u64> {
        let calls = self.instructions.values().filter(|it| it.flow_control() == FlowControl::Call);
        calls.map(Instruction::near_branch_target).collect()
    }

    /// Returns whether it ever comes back to its caller.
    pub fn returns(&self) -> bool {
        self.instructions.values().any(|it| it.flow_control() == FlowControl::Return)
    }

    /// Counts each loop that has no other in it, in the order of their addresses. What leaves the loop is not part of
    /// it.
    pub fn innermost_loops(&self) -> Vec<Count> {
        let blocks = self.blocks();
        let dominated = dominators(&blocks);
        let mut loops: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (at, block) in blocks.iter().enumerate() {
            for &head in block.next.iter().filter(|&head| dominated[at].contains(head)) {
                let body = loops.entry(head).or_insert_with(|| BTreeSet::from([head]));
                let mut open = vec![at];
                while let Some(inside) = open.pop() {
                    if body.insert(inside) {
                        let before = blocks.iter().enumerate().filter(|(_, block)| block.next.contains(&inside));
                        open.extend(before.map(|(before, _)| before));
                    }
                }
            }
        }
        let has_none_inside = |(head, body): &(&usize, &BTreeSet<usize>)| {
            !loops.keys().any(|inner| inner != *head && body.contains(inner))
        };
        let of_blocks = |body: &BTreeSet<usize>| {
            Count::of(body.iter().flat_map(|&at| self.instructions.range(blocks[at].range.clone()).map(|(_, it)| it)))
        };
        loops.iter().filter(has_none_inside).map(|(_, body)| of_blocks(body)).collect()
    }

    fn blocks(&self) -> Vec<Block> {
        let entry = self.instructions.keys().next().copied();
        let targets = self.branches.values().flatten().copied();
        let behind = self.branches.keys().map(|at| self.instructions[at].next_ip());
        let heads: BTreeSet<u64> = entry.into_iter().chain(targets).chain(behind).collect();
        let heads: Vec<u64> = heads.into_iter().filter(|head| self.instructions.contains_key(head)).collect();
        let place = |address: u64| heads.binary_search(&address).expect("branches lead to where a block begins");
        let block = |at: usize| {
            let end = heads.get(at + 1).copied().unwrap_or(u64::MAX);
            let range = heads[at]..end;
            let (last, instruction) = self.instructions.range(range.clone()).next_back().expect("a block has code");
            let next = match self.branches.get(last) {
                Some(next) => next.iter().map(|&next| place(next)).collect(),
                None => vec![place(instruction.next_ip())],
            };
            Block { range, next }
        };
        (0..heads.len()).map(block).collect()
    }
}

/// Code that is entered at its beginning and left at its end.
struct Block {
    range: std::ops::Range<u64>,
    next: Vec<usize>,
}

/// Returns for each block those that are passed on every way to it from the first one, itself among them.
fn dominators(blocks: &[Block]) -> Vec<BTreeSet<usize>> {
    let all: BTreeSet<usize> = (0..blocks.len()).collect();
    let mut found = vec![all; blocks.len()];
    found[0] = BTreeSet::from([0]);
    let before = |at: usize| blocks.iter().enumerate().filter(move |(_, it)| it.next.contains(&at)).map(|(at, _)| at);
    let before: Vec<Vec<usize>> = (0..blocks.len()).map(|at| before(at).collect()).collect();
    loop {
        let mut changed = false;
        for at in 1..blocks.len() {
            let ways = before[at].iter().map(|&before| &found[before]);
            let mut common = ways.cloned().reduce(|a, b| &a & &b).unwrap_or_default();
            common.insert(at);
            changed |= common != found[at];
            found[at] = common;
        }
        if !changed {
            return found;
        }
    }
}

/// Returns where the table of jumps at `at` leads: offsets of four bytes from its beginning. It ends at the latest
/// where a block begins to which it leads, or where there is no such offset any more. A block that begins with a jump
/// can look like one, so the code before a table says how long it is.
fn table(bytes: &[u8], address: u64, at: u64) -> Vec<u64> {
    let (mut targets, mut end) = (Vec::new(), address + bytes.len() as u64);
    for (entry, place) in bytes[(at - address) as usize..].chunks_exact(4).zip((at..).step_by(4)) {
        let offset = i32::from_le_bytes(entry.try_into().expect("four bytes"));
        let target = at.wrapping_add_signed(offset.into());
        if place >= end || !(address..address + bytes.len() as u64).contains(&target) {
            break;
        }
        if target > place {
            end = end.min(target);
        }
        targets.push(target);
    }
    targets
}

/// Where the code below is said to lie.
const BASE: u64 = 0x1000;

#[test]
fn a_loop_is_what_leads_back_and_not_what_leaves_it() {
    #[rustfmt::skip]
    let code = [
        0x31, 0xc0,             // xor eax, eax
        0x8b, 0x0c, 0x24,       // again: mov ecx, [rsp]
        0x03, 0x0f,             // add ecx, [rdi]
        0x78, 0x05,             // js out
        0xff, 0xc8,             // dec eax
        0x75, 0xf5,             // jnz again
        0xc3,                   // ret
        0x0f, 0x0b,             // out: ud2
    ];
    let function = Function::read(&code, BASE);
    assert!(function.returns() && function.callees().is_empty());
    assert_eq!(function.count(), Count { instructions: 8, frame: 1, memory: 1, calls: 0 });
    assert_eq!(function.innermost_loops(), [Count { instructions: 5, frame: 1, memory: 1, calls: 0 }]);
}

#[test]
fn a_table_of_jumps_is_followed_and_not_taken_for_code() {
    #[rustfmt::skip]
    let code = [
        0xff, 0xe0,             // jmp rax
        0x08, 0x00, 0x00, 0x00, // to the first of these
        0x0a, 0x00, 0x00, 0x00, // to the second
        0x0f, 0x0b,             // ud2
        0xe8, 0x00, 0x00, 0x00, 0x00, // call what comes next
        0xc3,                   // ret
    ];
    let function = Function::read(&code, BASE);
    assert_eq!(function.count(), Count { instructions: 4, frame: 0, memory: 0, calls: 1 });
    assert_eq!(function.callees(), BTreeSet::from([BASE + code.len() as u64 - 1]));
}

#[test]
fn what_lies_behind_a_table_of_jumps_is_not_part_of_it_though_it_looks_like_that() {
    #[rustfmt::skip]
    let code = [
        0xb9, 0x01, 0x00, 0x00, 0x00, // mov ecx, 1
        0x39, 0xca,             // cmp edx, ecx
        0x0f, 0x42, 0xca,       // cmovb ecx, edx
        0xff, 0xe0,             // jmp rax
        0x0d, 0x00, 0x00, 0x00, // to the first ret
        0x0d, 0x00, 0x00, 0x00, // the same
        0xe9, 0x00, 0x00, 0x00, 0x00, // jmp to it: as an offset, beyond the end but for its last byte
        0xc3,                   // ret
    ];
    let long: Vec<u8> = code.into_iter().chain(std::iter::repeat_n(0x06, 0x100)).collect();
    assert_eq!(Function::read(&long, BASE).count(), Count { instructions: 5, frame: 0, memory: 0, calls: 0 });
}
