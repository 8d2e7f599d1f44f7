//! The call that runs, or ran last: what it may use, what it did, and what it leaves to be done.

use std::sync::Arc;

use nook_abi::{Context, Entry};

use crate::Budgets;
use crate::budget::Budget;
use crate::call_trace::CallTrace;
use crate::crash::Crash;
use crate::due_calls::DueCalls;
use crate::record::Tape;
use crate::transaction::Transaction;
use crate::watch::Watch;

/// What the host knows of calls into the driver.
pub(crate) struct CallState {
    pub(crate) budget: Budget,
    pub(crate) watch: Arc<Watch>,
    pub(crate) context: Context,
    pub(crate) transaction: Transaction,
    pub(crate) due: DueCalls,
    pub(crate) trace: CallTrace,
    /// Which calls are to be ended on request; it lies here because it outlives instances.
    pub(crate) crash: Option<Crash>,
    /// What records the driver, or answers it from a recording; it outlives instances too.
    pub(crate) tape: Option<Box<Tape>>,
}

impl CallState {
    pub(crate) fn new(budgets: Budgets) -> Self {
        CallState {
            budget: Budget::new(budgets),
            watch: Arc::default(),
            context: Context::Process,
            transaction: Transaction::default(),
            due: DueCalls::default(),
            trace: CallTrace::default(),
            crash: None,
            tape: None,
        }
    }

    /// Begins a fresh instance: it owes nothing and is owed nothing.
    pub(crate) fn begin_instance(&mut self) {
        self.due = DueCalls::default();
        self.trace.begin();
    }

    /// Excuses time that the driver was allowed to spin.
    pub(crate) fn excuse_delay(&mut self, ns: u64) {
        self.budget.excuse_delay(ns);
        self.watch.excuse_delay(ns);
    }

    /// Begins a call.
    #[inline]
    pub(crate) fn begin(&mut self, entry: Entry) {
        self.context = entry.context();
        self.budget.begin(entry);
    }
}
