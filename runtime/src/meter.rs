//! Instructions that are counted, so that a call that does not end is ended after as many on every machine
//! ([`DriverModule::metered`](crate::DriverModule::metered)). The engine counts them, in a number of the store.

use nook_abi::{Context, Fault};
use wasmtime::{Store, Trap};

use crate::{Engine, Host};

/// What an engine counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    counts: bool,
}

impl Meter {
    pub(crate) fn of(engine: &Engine) -> Self {
        Meter { counts: engine.how().metered }
    }

    /// Begins to count those of a call.
    #[inline]
    pub(crate) fn begin(self, store: &mut Store<Host>, context: Context) {
        if self.counts {
            let most = store.data().call.budget.instructions(context);
            // It only refuses where the engine does not count.
            let begun = store.set_fuel(most);
            debug_assert!(begun.is_ok());
        }
    }
}

impl Host {
    /// Returns the fault of the call that this trap has ended, if it was for its time, or for its instructions.
    #[cold]
    pub(crate) fn is_over(&mut self, trap: Trap) -> Option<Fault> {
        match trap {
            Trap::UnreachableCodeReached => self.time_is_up(),
            Trap::OutOfFuel => Some(self.out_of_instructions()),
            _ => None,
        }
    }
}
