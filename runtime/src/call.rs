//! The call that runs, or ran last: what it may use, what it did, and what it leaves to be done.

use nook_abi::{Context, Entry};

use crate::Budgets;
use crate::budget::Budget;
use crate::crash::Crash;
use crate::trail::Trail;
use crate::transaction::Transaction;
use crate::wanted::Wanted;

/// What the host knows of calls into the driver.
pub(crate) struct CallState {
    pub(crate) budget: Budget,
    pub(crate) context: Context,
    pub(crate) transaction: Transaction,
    pub(crate) wanted: Wanted,
    pub(crate) trail: Trail,
    /// Which calls are to be ended on request; it lies here because it outlives instances.
    pub(crate) crash: Option<Crash>,
}

impl CallState {
    pub(crate) fn new(budgets: Budgets) -> Self {
        CallState {
            budget: Budget::new(budgets),
            context: Context::Process,
            transaction: Transaction::default(),
            wanted: Wanted::default(),
            trail: Trail::default(),
            crash: None,
        }
    }

    /// A fresh instance: it owes nothing and is owed nothing.
    pub(crate) fn begin_instance(&mut self) {
        self.wanted = Wanted::default();
        self.trail.begin();
    }

    /// A call begins.
    #[inline]
    pub(crate) fn begin(&mut self, entry: Entry) {
        self.context = entry.info().context;
        self.budget.begin(entry);
    }
}
