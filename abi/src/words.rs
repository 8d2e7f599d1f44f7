//! Arguments and results as the words that traces and messages hold.

/// The most arguments that a hostcall or an entry has.
pub const MOST_ARGS: usize = 3;

/// Fills up the arguments of a call with zeros.
#[inline(always)]
pub fn padded<const N: usize>(args: [u64; N]) -> [u64; MOST_ARGS] {
    const { assert!(N <= MOST_ARGS, "no row of the tables has this many arguments") };
    core::array::from_fn(|at| if at < N { args[at] } else { 0 })
}

/// A word as the table's type for it; what is above that type's width is not looked at.
#[macro_export]
macro_rules! from_word {
    ($value:expr, ()) => {{
        let _: u64 = $value;
    }};
    ($value:expr, Addr) => {
        $value as $crate::Addr
    };
    ($value:expr, $ty:tt) => {
        $value as $ty
    };
}
