//! Which functions must begin with a deadline check, and which a long call can reach.

use super::MOST_WITHOUT_CHECK;
use super::code::Found;

/// A function's way from "not seen" to "settled".
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Its callees are being settled: coming here again is a cycle.
    Open,
    Little(u64),
    Much,
}

/// Says for each function whether all that it executes, its callees included, is known to be short. One that calls
/// itself, however indirectly, never is, and neither is its caller. `imported` functions come before these and count
/// for one instruction, the call. Also says how many steps that took.
pub(super) fn little(functions: &[Found], imported: u32) -> (Vec<bool>, u64) {
    let mut states = vec![State::New; functions.len()];
    let mut steps = 0;
    for first in 0..functions.len() {
        // Functions whose callees are being settled, with the next callee and what was summed up so far.
        let mut path = Vec::new();
        open(functions, &mut states, &mut path, first);
        while let Some((function, next, sum)) = path.last_mut() {
            steps += 1;
            let callees = &functions[*function].calls;
            let Some(callee) = callees.get(*next) else {
                let (function, sum) = (*function, *sum);
                states[function] = if sum <= MOST_WITHOUT_CHECK { State::Little(sum) } else { State::Much };
                path.pop();
                continue;
            };
            let callee = callee.checked_sub(imported).map(|callee| callee as usize);
            match callee.map(|callee| (callee, states[callee])) {
                None => *next += 1,
                Some((_, State::Little(executes))) => {
                    *sum = sum.saturating_add(executes);
                    *next += 1;
                }
                Some((_, State::Much | State::Open)) => {
                    states[*function] = State::Much;
                    path.pop();
                }
                Some((callee, State::New)) => open(functions, &mut states, &mut path, callee),
            }
        }
    }
    (states.into_iter().map(|state| matches!(state, State::Little(_))).collect(), steps)
}

fn open(functions: &[Found], states: &mut [State], path: &mut Vec<(usize, usize, u64)>, function: usize) {
    if states[function] != State::New {
        return;
    }
    if functions[function].calls_through_table || functions[function].is_question {
        states[function] = State::Much;
        return;
    }
    states[function] = State::Open;
    path.push((function, 0, functions[function].instructions));
}

/// Says for each function whether one of `roots` can reach it: by calls, and through a table all that any element or
/// instruction refers to (`referred`). The question to the host leads nowhere. Also says how many steps that took.
pub(super) fn reached(functions: &[Found], imported: u32, roots: &[u32], referred: &[u32]) -> (Vec<bool>, u64) {
    let mut reached = vec![false; functions.len()];
    let mut through_table = false;
    let mut steps = 0;
    let mut pending: Vec<u32> = roots.to_vec();
    while let Some(function) = pending.pop() {
        steps += 1;
        let Some(at) = function.checked_sub(imported).map(|at| at as usize) else { continue };
        if reached[at] {
            continue;
        }
        reached[at] = true;
        pending.extend(&functions[at].calls);
        if functions[at].calls_through_table && !through_table {
            through_table = true;
            pending.extend(referred);
        }
    }
    (reached, steps)
}
