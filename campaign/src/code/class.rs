//! Kinds of mistakes in code, after those of Nooks, MINIX 3 and SWIFI.

use serde::{Deserialize, Serialize};

macro_rules! classes {
    ($({ $doc:literal } $variant:ident $name:literal;)*) => {
        /// A kind of mistake in code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CodeClass {
            $(#[doc = $doc] $variant,)*
        }

        impl CodeClass {
            /// All of them.
            pub const ALL: &[CodeClass] = &[$(CodeClass::$variant),*];

            /// Returns its name in reports and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(CodeClass::$variant => $name,)*
                }
            }

            /// Returns what it is, in words.
            pub fn about(self) -> &'static str {
                match self {
                    $(CodeClass::$variant => $doc,)*
                }
            }
        }
    };
}

classes! {
    { "Another variable is read." } Source "source";
    { "Another variable is written." } Destination "destination";
    { "Another operation is made of the same operands." } Operation "operation";
    { "A constant has another value." } Constant "constant";
    { "A comparison is turned round, or off by one." } Condition "condition";
    { "A branch is always taken, never, or when it should not be." } Branch "branch";
    { "A load or store goes to another address." } Pointer "pointer";
    { "The comparison that ends a loop is off by one." } LoopBound "loop_bound";
    { "A variable or field does not get its first value." } Initialisation "initialisation";
    { "The stack pointer is moved by another amount, or not moved back." } Stack "stack";
    { "A copy or fill has another length." } BulkLength "bulk_length";
    { "What should be given back, published or asked for is not." } Leak "leak";
    { "What is given back or published is so once more than there is." } DoubleReturn "double_return";
    { "A hostcall gets another argument." } Argument "argument";
    { "A register is not written: interrupts stay masked, a doorbell is not rung." } RegisterWrite "register_write";
    { "A loop does not end." } EndlessLoop "endless_loop";
    { "A barrier is missing." } Barrier "barrier";
}
