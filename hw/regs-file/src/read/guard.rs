//! A register's guard.

use nook_regs::{Bits, Guard, GuardRule, GuardState, Never, Then, Width};

use super::{Result, Value, bits, keep, only, some_bits};
use crate::table::{self, Table, shown};
use crate::{Wrong, spell};

const GUARD_KEYS: &[&str] = &["busy", "never", "state"];
const NEVER_KEYS: &[&str] = &["now", "refuse"];
const STATE_KEYS: &[&str] = &["name", "count", "rules"];
const RULE_KEYS: &[&str] = &["now", "before", "then", "to", "refuse"];

/// What besides letters, digits and `_` is in names of states.
const IN_STATES: &str = " ,-.";

pub fn read(value: &Value<'_>, width: Width) -> Result<Guard> {
    let guard = Table::of(value, "a `guard`", GUARD_KEYS)?;
    let busy = guard.get("busy").map_or(Ok(0), |value| bits(value, "a guard's `busy` bits", width))?;
    let never = table::items_of(&guard, "never", "a guard's `never`")?;
    let never = never.iter().map(|value| refusal(value, width)).collect::<Result<Vec<_>>>()?;
    let values = table::items(guard.need("state")?, "a guard's `state`")?;
    let mut names = Vec::new();
    for value in values {
        let state = Table::of(value, "a guard's `state`", STATE_KEYS)?;
        names.push(table::name(state.need("name")?, "a state's `name`", IN_STATES)?);
    }
    let states = values.iter().map(|value| state(value, width, &names)).collect::<Result<Vec<_>>>()?;
    Ok(Guard { never: never.leak(), states: states.leak(), busy })
}

fn refusal(value: &Value<'_>, width: Width) -> Result<Never> {
    let never = Table::of(value, "an item of a guard's `never`", NEVER_KEYS)?;
    let now = some_bits(never.need("now")?, width)?;
    Ok(Never { now, why: keep(table::text(never.need("refuse")?, "`refuse`, why a value is refused,")?) })
}

fn state(value: &Value<'_>, width: Width, names: &[&str]) -> Result<GuardState> {
    let state = Table::of(value, "a guard's `state`", STATE_KEYS)?;
    let name = keep(table::name(state.need("name")?, "a state's `name`", IN_STATES)?);
    let most = u32::MAX.into();
    let count = state.get("count").map_or(Ok(1), |value| table::number(value, "a state's `count`", 1..=most))? as u32;
    let rules = table::items(state.need("rules")?, "a state's `rules`")?;
    let rules = rules.iter().map(|value| rule(value, width, names)).collect::<Result<Vec<_>>>()?;
    Ok(GuardState { name, count, rules: rules.leak() })
}

fn rule(value: &Value<'_>, width: Width, names: &[&str]) -> Result<GuardRule> {
    let rule = Table::of(value, "a rule of a state", RULE_KEYS)?;
    let now = rule.get("now").map_or(Ok(Bits::ANY), |value| some_bits(value, width))?;
    let before = rule.get("before").map_or(Ok(Bits::ANY), |value| some_bits(value, width))?;
    let then = match only(&rule, &["then", "to", "refuse"]) {
        Some(("then", value)) => table::word(value, "`then`", &[("stay", Then::Stay), ("next", Then::Next)])?,
        Some(("to", value)) => {
            let to = value.get_ref().as_str().unwrap_or_default();
            let index = names.iter().position(|name| *name == to).and_then(|index| u16::try_from(index).ok());
            let Some(index) = index else {
                let states = spell::list(names.iter().take(20).map(|name| format!("\"{name}\"")));
                let why = format!("the guard has no state {}; `to` can be {states}", shown(to));
                return Err(Wrong::new(value.span(), why));
            };
            Then::To(index)
        }
        Some((_, value)) => Then::Refuse(keep(table::text(value, "`refuse`, why a value is refused,")?)),
        None => return Err(Wrong::new(value.span(), "a rule has one of `then`, `to` and `refuse`")),
    };
    Ok(GuardRule { now, before, then })
}
