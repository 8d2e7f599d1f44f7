//! The machine that drivers are compiled for, as Cranelift describes it.

use std::sync::OnceLock;

use cranelift_codegen::settings::{self, Configurable};

use crate::CodeGen;

/// What stands between a bounds check that fails and what is computed speculatively after it.
const SPECTRE: [&str; 2] = ["enable_heap_access_spectre_mitigation", "enable_table_access_spectre_mitigation"];

/// Returns the compiler's settings that differ from its own defaults. An error if it does not know one of them: a
/// measurement of a setting that does nothing would be worse than none.
pub(crate) fn settings(how: &CodeGen) -> Result<Vec<(&'static str, &'static str)>, String> {
    let wanted: Vec<_> = if how.spectre { Vec::new() } else { SPECTRE.map(|name| (name, "false")).to_vec() };
    let mut known = settings::builder();
    for (name, value) in &wanted {
        known.set(name, value).map_err(|error| format!("Cranelift's setting {name}: {error}"))?;
    }
    Ok(wanted)
}

/// Returns the target and every instruction set flag that is on: `x86_64 has_avx has_sse41 ...`. Part of the key under
/// which compiled modules are kept, and printed by `nook-run inspect`.
pub fn target_description() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| match describe() {
        Ok(text) => text,
        Err(why) => format!("{} ({why})", std::env::consts::ARCH),
    })
}

fn describe() -> Result<String, String> {
    let isa = cranelift_native::builder().map_err(str::to_owned)?;
    let isa = isa.finish(settings::Flags::new(settings::builder())).map_err(|error| error.to_string())?;
    let on = isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true)).map(|flag| flag.name);
    Ok(std::iter::once(isa.name()).chain(on).collect::<Vec<_>>().join(" "))
}
