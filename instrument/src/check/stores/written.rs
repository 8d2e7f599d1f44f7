//! What an instruction writes, read off its name, so that no instruction is missing that a table would forget.

use wasmparser::{MemArg, Operator};

/// A store, of whatever kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// This many bytes at the address plus the offset, in this memory.
    Fixed { name: &'static str, width: u32, offset: u64, memory: u32 },
    /// As many as its last operand says, from its first operand on.
    Bulk { name: &'static str, memory: u32 },
}

impl Written {
    pub(super) fn of(operator: &Operator<'_>) -> Option<Written> {
        let name = name(operator);
        match operator {
            Operator::MemoryCopy { dst_mem: memory, .. }
            | Operator::MemoryFill { mem: memory }
            | Operator::MemoryInit { mem: memory, .. } => return Some(Written::Bulk { name, memory: *memory }),
            _ => {}
        }
        let width = width(name)?;
        let MemArg { offset, memory, .. } = *super::super::shape::access(operator)?;
        Some(Written::Fixed { name, width, offset, memory })
    }

    pub(super) fn memory(&self) -> u32 {
        match self {
            Written::Fixed { memory, .. } | Written::Bulk { memory, .. } => *memory,
        }
    }
}

macro_rules! define_name {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// Returns what wasmparser calls an instruction.
        fn name(operator: &Operator<'_>) -> &'static str {
            match operator {
                $(Operator::$op { .. } => stringify!($op),)*
                _ => "",
            }
        }
    };
}

wasmparser::for_each_operator!(define_name);

/// Returns how many bytes an instruction of this name writes, if it is a store, a read-modify-write or a
/// compare-and-exchange: `I64Store`, `V128Store32Lane`, `I64AtomicRmw8AddU`.
fn width(name: &str) -> Option<u32> {
    let (of_type, rest) = name.split_once("Store").or_else(|| name.split_once("Rmw"))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    let bits = match (digits, &of_type[..3]) {
        ("", "I32" | "F32") => 32,
        ("", "I64" | "F64") => 64,
        ("", "V12") => 128,
        (digits, _) => digits.parse().ok()?,
    };
    Some(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_a_store_is_in_its_name() {
        let rows = [
            ("I32Store", Some(4)),
            ("I64Store16", Some(2)),
            ("F64Store", Some(8)),
            ("V128Store", Some(16)),
            ("V128Store64Lane", Some(8)),
            ("I32AtomicStore8", Some(1)),
            ("I64AtomicRmw32CmpxchgU", Some(4)),
            ("I64AtomicRmwXchg", Some(8)),
            ("I64Load", None),
            ("V128Load32Zero", None),
        ];
        rows.into_iter().for_each(|(name, expected)| assert_eq!(width(name), expected, "{name}"));
    }
}
