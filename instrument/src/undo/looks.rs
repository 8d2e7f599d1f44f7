//! Which functions look at the time when they begin.
//!
//! Branches back to a loop's beginning always do (see `rewrite`). What is left is code without loops that runs long all
//! the same: a function that calls another twice, which calls a third twice. So a function looks at the time unless
//! all that it executes, its callees included, is known to be little.

use wasmparser::Operator;

use super::Refused;
use super::module::Body;

/// What a function may execute without a look, in instructions, loops counted once. A module of 8 MiB that is made of
/// calls to such functions has some ten million of them: it looks at the time more often than once in a second.
const LITTLE: u64 = 256;

#[derive(Clone, Default)]
struct Cost {
    instructions: u64,
    /// Functions of the module that it calls, each as often as it stands there.
    calls: Vec<usize>,
    calls_through_table: bool,
}

/// For each function with a body: whether it looks at the time when it begins. Functions are numbered from
/// `imported_functions` on.
pub(super) fn of(bodies: &[Body<'_>], imported_functions: u32) -> Result<Vec<bool>, Refused> {
    let mut costs = Vec::with_capacity(bodies.len());
    for body in bodies {
        let mut cost = Cost::default();
        for operator in body.code.get_operators_reader()? {
            cost.instructions += 1;
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    cost.calls.extend(function_index.checked_sub(imported_functions).map(|callee| callee as usize));
                }
                Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => cost.calls_through_table = true,
                _ => {}
            }
        }
        costs.push(cost);
    }
    Ok(settle(&costs))
}

/// Only a function whose callees are all settled and little is little: one that calls itself, however indirectly,
/// never is.
fn settle(costs: &[Cost]) -> Vec<bool> {
    let mut callers = vec![Vec::new(); costs.len()];
    let mut unsettled: Vec<usize> = costs.iter().map(|cost| cost.calls.len()).collect();
    for (function, cost) in costs.iter().enumerate() {
        cost.calls.iter().for_each(|&callee| callers[callee].push(function));
    }
    let mut total: Vec<u64> = costs.iter().map(|cost| cost.instructions).collect();
    let mut looks = vec![true; costs.len()];
    let mut ready: Vec<usize> = (0..costs.len()).filter(|&function| unsettled[function] == 0).collect();
    while let Some(function) = ready.pop() {
        if costs[function].calls_through_table || total[function] > LITTLE {
            continue;
        }
        looks[function] = false;
        for &caller in &callers[function] {
            total[caller] += total[function];
            unsettled[caller] -= 1;
            if unsettled[caller] == 0 {
                ready.push(caller);
            }
        }
    }
    looks
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
    fn calls_that_double_at_each_level_come_to_a_look() {
        let mut tree = vec![function(2, &[])];
        tree.extend((0..40).map(|level| function(4, &[level, level])));
        let looks = settle(&tree);
        let first = looks.iter().position(|looks| *looks).expect("2^40 calls need a look");
        assert!((1..9).contains(&first) && looks[first..].iter().all(|looks| *looks), "{looks:?}");
    }

    #[test]
    fn recursion_looks_however_long_its_way_round_and_so_does_what_calls_through_a_table() {
        assert_eq!(settle(&[function(1, &[1]), function(1, &[2]), function(1, &[0])]), [true; 3]);
        let indirect = Cost { calls_through_table: true, ..function(1, &[]) };
        assert_eq!(settle(&[indirect, function(1, &[0])]), [true, true]);
    }
}
