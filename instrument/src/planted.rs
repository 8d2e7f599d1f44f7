//! Mistakes that this crate's tests plant in the pass, to show that they would be noticed. Nothing of it is compiled
//! into what others link: there [`Planted`] is empty, and `flawed!` is false.

/// What is planted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(test)]
    pub(crate) flaw: Option<Flaw>,
}

#[cfg(test)]
macro_rules! flawed {
    ($planted:expr, $flaw:ident) => {
        $planted.flaw == Some(crate::planted::Flaw::$flaw)
    };
}

#[cfg(not(test))]
macro_rules! flawed {
    ($planted:expr, $flaw:ident) => {{
        let crate::planted::Planted {} = $planted;
        false
    }};
}

pub(crate) use flawed;

/// A mistake that the pass can be made to make.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Logs bytes between two stores, which a device may write.
    MergeAcrossGap,
    /// Takes an address that changes in a loop for one that does not.
    HoistVariantAddress,
    /// Logs ahead of the store what a device may write.
    HoistSharedMemory,
    /// Does not check the stack pointer.
    NoStackCheck,
    /// Goes on with the log's top of before a call.
    KeepTopAfterCall,
    /// Logs what was just stored.
    LogAfterStore,
    /// Logs four bytes of longer stores.
    WrongWidth,
    /// Takes what one path logged for logged on the other one too.
    KeepFactsOfOtherPath,
    /// Does not save globals.
    ForgetGlobals,
    /// Takes what begins in memory that is kept for kept, however far it reaches.
    KeepAcrossBorder,
    /// Takes a store for declared scratch that is none.
    TakeStoreForScratch,
    /// Goes round in a loop without a deadline check.
    LoopWithoutCheck,
    /// Begins long functions without a deadline check.
    FunctionWithoutCheck,
    /// Traps at the deadline checks of functions that long calls reach too.
    TrapInSharedFunction,
}
