//! The machine that drivers are compiled for, as Cranelift describes it.

use std::sync::OnceLock;

use cranelift_codegen::settings;

/// The target and every instruction set flag that is on: `x86_64 has_avx has_sse41 ...`. Part of the key under which
/// compiled modules are kept, and printed by `nook-run inspect`.
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
