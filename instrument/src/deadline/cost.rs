//! Decides which functions begin with a deadline check.
//!
//! Branches back to a loop's beginning always do, and so does what surrounds a bulk instruction. What is left is code
//! without loops that runs long all the same: a function that calls another twice, which calls a third twice. So a
//! function checks its deadline unless all that it executes, its callees included, is known to be little.
//! [`check`](crate::check) holds the finished module to the same rule.

use wasmparser::Operator;

use crate::check::MOST_WITHOUT_CHECK;

/// What a finished function executes, loops counted once.
#[derive(Clone, Default)]
pub(crate) struct Cost {
    instructions: u64,
    /// Functions of the module that it calls, each as often as it stands there.
    calls: Vec<usize>,
    calls_through_table: bool,
}

impl Cost {
    /// Adds this many instructions.
    pub(crate) fn add(&mut self, instructions: u64) {
        self.instructions += instructions;
    }

    /// Adds an instruction of the original; functions of the module are numbered from `imported_functions` on.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>, imported_functions: u32) {
        self.instructions += 1;
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.calls.extend(function_index.checked_sub(imported_functions).map(|callee| callee as usize));
            }
            Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => self.calls_through_table = true,
            _ => {}
        }
    }
}

/// Says for each function whether it must begin with a deadline check. Only a function whose callees are all short is
/// short itself: one that calls itself, however indirectly, never is.
pub(crate) fn settle(costs: &[Cost]) -> Vec<bool> {
    let mut callers = vec![Vec::new(); costs.len()];
    let mut unsettled: Vec<usize> = costs.iter().map(|cost| cost.calls.len()).collect();
    for (function, cost) in costs.iter().enumerate() {
        cost.calls.iter().for_each(|&callee| callers[callee].push(function));
    }
    let mut total: Vec<u64> = costs.iter().map(|cost| cost.instructions).collect();
    let mut checks = vec![true; costs.len()];
    let mut ready: Vec<usize> = (0..costs.len()).filter(|&function| unsettled[function] == 0).collect();
    while let Some(function) = ready.pop() {
        if costs[function].calls_through_table || total[function] > MOST_WITHOUT_CHECK {
            continue;
        }
        checks[function] = false;
        for &caller in &callers[function] {
            total[caller] += total[function];
            unsettled[caller] -= 1;
            if unsettled[caller] == 0 {
                ready.push(caller);
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(instructions: u64, calls: &[usize]) -> Cost {
        Cost { instructions, calls: calls.to_vec(), calls_through_table: false }
    }

    #[test]
    fn a_function_that_does_little_does_not_look_and_neither_does_its_caller() {
        assert_eq!(settle(&[function(10, &[]), function(10, &[0, 0])]), [false, false]);
    }

    #[test]
    fn calls_that_double_at_each_level_come_to_a_check() {
        let mut tree = vec![function(2, &[])];
        tree.extend((0..40).map(|level| function(4, &[level, level])));
        let checks = settle(&tree);
        let first = checks.iter().position(|checks| *checks).expect("2^40 calls need a deadline check");
        assert!((1..9).contains(&first) && checks[first..].iter().all(|checks| *checks), "{checks:?}");
    }

    #[test]
    fn recursion_looks_however_long_its_way_round_and_so_does_what_calls_through_a_table() {
        assert_eq!(settle(&[function(1, &[1]), function(1, &[2]), function(1, &[0])]), [true; 3]);
        let indirect = Cost { calls_through_table: true, ..function(1, &[]) };
        assert_eq!(settle(&[indirect, function(1, &[0])]), [true, true]);
    }
}
