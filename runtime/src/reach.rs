//! Which functions of a module can be called when some of them are: what its code says, with no run of it.

use std::ops::ControlFlow;

use nook_abi::{ENTRY_PREFIX, Entry, HOSTCALLS, Hostcall, IMPORT_MODULE};
use nook_instrument::{Sections, features};
use wasmparser::{BinaryReaderError, ElementItems, ExternalKind, Operator, TypeRef};

use crate::survey::INITIALIZE;
use crate::{DriverModule, LoadError};

impl DriverModule {
    /// Returns which hostcalls each of its entries can come to, both in the order of their tables. Which of the
    /// functions in its tables an indirect call means is not known, so with one such call all of them can be.
    ///
    /// # Errors
    /// None that was not one of [`load`](Self::load) already.
    pub fn calls_by_entry(&self) -> Result<Vec<(Entry, Vec<Hostcall>)>, LoadError> {
        let sections = Sections::of(self.laid_out(), features())?;
        let is_function = |ty: &TypeRef| matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
        let imported: Vec<_> = sections.imports.iter().filter(|import| is_function(&import.ty)).collect();
        let mut found = Vec::new();
        let functions = || sections.exports.iter().filter(|export| export.kind == ExternalKind::Func);
        let initialize = functions().find(|export| export.name == INITIALIZE).map(|export| export.index);
        for export in functions() {
            let Some(entry) = export.name.strip_prefix(ENTRY_PREFIX).and_then(Entry::named) else { continue };
            // `probe` begins with what is called once.
            let first = initialize.filter(|_| entry == Entry::Probe);
            let reached = from(&sections, [export.index].into_iter().chain(first), |_, _| ControlFlow::Continue(()));
            let reached = reached.map_err(|error| LoadError::Invalid(error.to_string()))?;
            let is_called = |name: &str| {
                let mut named = imported.iter().zip(&reached).filter(|(import, _)| import.module == IMPORT_MODULE);
                named.any(|(import, reached)| *reached && import.name == name)
            };
            let calls = HOSTCALLS.iter().filter(|row| is_called(row.name)).map(|row| row.call).collect();
            found.push((entry, calls));
        }
        found.sort_by_key(|(entry, _)| *entry as u8);
        Ok(found)
    }
}

/// Returns for each function, imported ones first, whether it can be called when `roots` are. `each` sees every
/// instruction of these, with its offset in the module, and may end the search.
///
/// # Errors
/// If the code cannot be read.
pub(crate) fn from(
    sections: &Sections<'_>,
    roots: impl IntoIterator<Item = u32>,
    mut each: impl FnMut(&Operator<'_>, usize) -> ControlFlow<()>,
) -> Result<Vec<bool>, BinaryReaderError> {
    let imported = sections.functions.len() - sections.bodies.len();
    let mut seen = vec![false; sections.functions.len()];
    let mut open: Vec<u32> = roots.into_iter().collect();
    let mut in_tables = Some(in_tables(sections)?);
    while let Some(function) = open.pop() {
        let Some(seen_before) = seen.get_mut(function as usize).filter(|seen| !**seen) else { continue };
        *seen_before = true;
        let body = (function as usize).checked_sub(imported).and_then(|at| sections.bodies.get(at));
        let Some(body) = body else { continue };
        for operator in body.code.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            if each(&operator, offset).is_break() {
                return Ok(seen);
            }
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    open.push(function_index)
                }
                // Which of a table's functions is called is not followed.
                Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => {
                    open.extend(in_tables.take().unwrap_or_default());
                }
                _ => {}
            }
        }
    }
    Ok(seen)
}

/// Returns the functions that a table holds, or can be given.
fn in_tables(sections: &Sections<'_>) -> Result<Vec<u32>, BinaryReaderError> {
    let mut functions = Vec::new();
    for element in &sections.elements {
        match &element.items {
            ElementItems::Functions(items) => {
                for function in items.clone() {
                    functions.push(function?);
                }
            }
            ElementItems::Expressions(_, items) => {
                for expression in items.clone() {
                    for operator in expression?.get_operators_reader() {
                        if let Operator::RefFunc { function_index } = operator? {
                            functions.push(function_index);
                        }
                    }
                }
            }
        }
    }
    Ok(functions)
}
