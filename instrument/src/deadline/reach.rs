//! Which functions a long call can reach: those ask at their deadline checks, all others trap.

use nook_abi::{Context, ENTRY_PREFIX, Entry};
use wasmparser::{ElementItems, ExternalKind, Operator};

use crate::sections::{Body, Sections};

/// Returns whether calls of this export are short: it is an entry in interrupt or atomic context.
fn is_short(export: &str) -> bool {
    let entry = export.strip_prefix(ENTRY_PREFIX).and_then(Entry::named);
    entry.is_some_and(|entry| entry.info().context != Context::Process)
}

/// What a function calls.
#[derive(Default)]
struct Calls {
    functions: Vec<u32>,
    through_table: bool,
}

impl Calls {
    fn of(body: &Body<'_>) -> wasmparser::Result<Self> {
        let mut calls = Calls::default();
        for operator in body.code.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    calls.functions.push(function_index);
                }
                Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => calls.through_table = true,
                _ => {}
            }
        }
        Ok(calls)
    }
}

/// Says of each function with a body whether an export can reach it that is no short entry. What calls through a table
/// reaches all that any element refers to.
pub(crate) fn asking(sections: &Sections<'_>, bodies: &[Body<'_>]) -> wasmparser::Result<Vec<bool>> {
    let imported = sections.imported(ExternalKind::Func);
    let calls = bodies.iter().map(Calls::of).collect::<wasmparser::Result<Vec<_>>>()?;
    let exports = sections.exports.iter().filter(|export| export.kind == ExternalKind::Func);
    let long = exports.filter(|export| !is_short(export.name)).map(|export| export.index);
    let mut reached = vec![false; bodies.len()];
    let mut to_do: Vec<u32> = long.chain(sections.start).collect();
    let mut elements = Some(elements(sections)?);
    while let Some(function) = to_do.pop() {
        let Some(at) = function.checked_sub(imported).map(|at| at as usize) else { continue };
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        to_do.extend(&calls[at].functions);
        if calls[at].through_table {
            to_do.extend(elements.take().into_iter().flatten());
        }
    }
    Ok(reached)
}

fn elements(sections: &Sections<'_>) -> wasmparser::Result<Vec<u32>> {
    let mut found = Vec::new();
    for element in &sections.elements {
        match &element.items {
            ElementItems::Functions(functions) => {
                for function in functions.clone() {
                    found.push(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions.clone() {
                    for operator in expression?.get_operators_reader() {
                        if let Operator::RefFunc { function_index } = operator? {
                            found.push(function_index);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}
