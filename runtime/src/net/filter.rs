//! A filter: a second module in a driver's nook, which sees each frame that passes the driver and may drop it.
//!
//! Both are instances in one store, each with its own memory and with the same window at that memory's end. The
//! driver's import `net_filter` leads to the filter without the host in between. They trust each other: a fault of
//! either ends both. To attribute it, the call passes a shim that notes which one runs.

use std::fmt;
use std::path::Path;

use nook_abi::net::{FILTER_ENTRIES, NetPage, PoolLayout};
use nook_abi::{ABI_VERSION, Class, ENTRY_PREFIX, HOST_PAGE_MAGIC, HostPage, IMPORT_MODULE, MAILBOX_BYTES, Status};
use nook_instrument::deadline::{Timed, with_deadline_checks};
use nook_instrument::{MEMORY_EXPORT, check, with_memory_pages};
use sha2::{Digest, Sha256};
use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, Module, TypeSection, ValType,
};
use wasmtime::{Global, Linker, Store, Val};

use super::pool_of;
use crate::cache::{Finished, Recipe};
use crate::load::{parse_manifest, read, validate};
use crate::origin::Origin;
use crate::space::RegionAddrs;
use crate::survey::{INITIALIZE, Survey};
use crate::time_cell::{Cells, Of, TimeCell};
use crate::{
    DriverModule, Engine, EngineError, Host, Layout, LoadError, ModuleCache, OwnedManifest, Space, Wasi, glue, memory,
};

/// The hostcall that a filter answers.
pub(crate) const IMPORT: &str = "net_filter";

/// What the shim calls its global and its import.
const INSIDE: &str = "inside";

/// A filter that passed every check.
#[derive(Clone)]
pub struct FilterModule {
    manifest: OwnedManifest,
    own_bytes: u64,
    wasm: Vec<u8>,
}

impl fmt::Debug for FilterModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterModule").field("manifest", &self.manifest).finish()
    }
}

impl FilterModule {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it is not a filter for this host.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::from_bytes(&read(path)?)
    }

    /// Checks a module.
    ///
    /// # Errors
    /// If it is not a filter for this host.
    pub fn from_bytes(wasm: &[u8]) -> Result<Self, LoadError> {
        validate(wasm)?;
        let survey = Survey::of(wasm, Wasi::Refused)?;
        let manifest = parse_manifest(survey.manifest.ok_or(LoadError::NoManifest)?)?;
        if manifest.class() != Class::Filter {
            let text = format!("`{}` is a driver; beside a driver stands a filter", manifest.name);
            return Err(LoadError::Refused(text));
        }
        survey.check_filter(&manifest)?;
        Ok(FilterModule { manifest, own_bytes: survey.memory_bytes()?, wasm: wasm.to_vec() })
    }

    /// Returns the filter's manifest.
    pub fn manifest(&self) -> &OwnedManifest {
        &self.manifest
    }

    /// Returns the file's hash.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.wasm).into()
    }

    /// Lays its memory out for this driver's window, and compiles it.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        cache: &ModuleCache,
        driver: &DriverModule,
        rules: String,
    ) -> Result<Compiled, EngineError> {
        let refused = |error: &dyn fmt::Display| EngineError::Compile(format!("the filter: {error:#}"));
        if rules.len() > MAILBOX_BYTES {
            return Err(refused(&format!("its rules have {} bytes; the most is {MAILBOX_BYTES}", rules.len())));
        }
        // Like the driver's, but for what comes before the host page.
        let manifest = OwnedManifest { heap_bytes: self.manifest.heap_bytes, ..driver.manifest().clone() };
        let layout = Layout::new(self.own_bytes, &manifest);
        let recipe = Recipe { sha256: self.sha256(), layout: &layout, made: Some("filter".into()) };
        let finish = || {
            let wasm = with_memory_pages(&self.wasm, layout.total_pages()).map_err(|error| refused(&error))?;
            let Timed { wasm, offsets } = with_deadline_checks(&wasm).map_err(|error| refused(&error))?;
            check::deadlines(&wasm).map_err(EngineError::NoDeadlineCheck)?;
            Ok(Finished { wasm, origin: Origin::new(None, None, Some(offsets), None, None) })
        };
        let crate::cache::Compiled { module, origin } = cache.get_or_compile(engine, &recipe, finish)?;
        let shim = wasmtime::Module::new(engine.wasmtime(), shim()).map_err(|error| refused(&error))?;
        let (name, pool) = (self.manifest.name.clone(), pool_of(&manifest));
        Ok(Compiled { name, module, origin, shim, layout, pool, rules })
    }
}

/// A filter that can be made instances of.
pub(crate) struct Compiled {
    name: String,
    module: wasmtime::Module,
    /// Where its code comes from.
    origin: Origin,
    shim: wasmtime::Module,
    layout: Layout,
    pool: PoolLayout,
    rules: String,
}

impl Compiled {
    /// Returns where the filter's code comes from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Makes an instance, begins it, and defines the driver's import by it. The linker allows shadowing. `time` gets
    /// its time cell, before any of it runs.
    pub(crate) fn link(
        &self,
        linker: &mut Linker<Host>,
        store: &mut Store<Host>,
        cells: &Cells,
        time: &mut Option<TimeCell>,
    ) -> wasmtime::Result<Inside> {
        let Layout { own_bytes, host_page, rings, window: at, window_bytes, .. } = self.layout;
        let lend = store.data().lend_window(at);
        let filter = memory::with_window(lend, || wasmtime::Instance::new(&mut *store, &self.module, &[]))?;
        let memory = filter.get_memory(&mut *store, MEMORY_EXPORT);
        let memory = memory.ok_or_else(|| wasmtime::format_err!("the filter does not export its memory"))?;
        *time = cells.of(store, &filter, Of::Filter)?;
        let places = RegionAddrs { heap: own_bytes, host_page, rings, window: at };
        #[expect(unsafe_code, reason = "the host is given the memory's address")]
        // SAFETY: the memory is made by `memory::Creator`, so it never moves or shrinks, and lives as long as the
        // store; its places lie inside it and are aligned. The space is used in this function only.
        let space = unsafe { Space::new(memory.data_ptr(&*store), memory.data_size(&*store) as u64, places) };
        let mailbox_addr = host_page + size_of::<HostPage>() as u64;
        space.write_host_page(&HostPage {
            magic: HOST_PAGE_MAGIC,
            abi_major: ABI_VERSION.0,
            abi_minor: ABI_VERSION.1,
            window_addr: at,
            window_len_bytes: window_bytes,
            heap_addr: own_bytes,
            heap_len_bytes: self.layout.heap_bytes,
            class: NetPage { pool: self.pool, ..NetPage::default() }.to_words(),
            mailbox_addr,
            ..HostPage::default()
        });
        if let Some(slice) = space.slice(mailbox_addr, self.rules.len() as u64) {
            slice.copy_from(self.rules.as_bytes());
        }
        let entry = |row: usize| format!("{ENTRY_PREFIX}{}", FILTER_ENTRIES[row].name);
        let begin = filter.get_typed_func::<(u32, u32), i32>(&mut *store, &entry(0))?;
        let frame = filter.get_func(&mut *store, &entry(1));
        let frame = frame.ok_or_else(|| wasmtime::format_err!("the filter does not export `{}`", entry(1)))?;
        let initialize = glue::exported::<(), ()>(&filter, store, INITIALIZE)?;
        let begun = initialize.map_or(Ok(()), |initialize| initialize.call(&mut *store, ()));
        let answer = begun.and_then(|()| begin.call(&mut *store, (host_page as u32, self.rules.len() as u32)));
        match answer.map_err(|error| wasmtime::format_err!("the filter `{}` does not begin: {error:#}", self.name))? {
            0 => {}
            code if Status::from_code(code) == Some(Status::Invalid) => {
                wasmtime::bail!("the filter `{}` refuses its rules: {:?}", self.name, self.rules)
            }
            code => wasmtime::bail!("the filter `{}` does not begin: it returns {code}", self.name),
        }
        let shim = wasmtime::Instance::new(&mut *store, &self.shim, &[frame.into()])?;
        let (asks, inside) = (shim.get_func(&mut *store, IMPORT), shim.get_global(&mut *store, INSIDE));
        let (Some(asks), Some(inside)) = (asks, inside) else { wasmtime::bail!("the shim exports both") };
        linker.define(&*store, IMPORT_MODULE, IMPORT, asks)?;
        store.data_mut().give_filter(&self.name);
        Ok(Inside(inside))
    }
}

/// Tells whether a filter runs.
#[derive(Clone, Copy)]
pub(crate) struct Inside(Global);

impl Inside {
    /// Returns whether the call that ended was in the filter.
    pub(crate) fn runs(self, store: &mut Store<Host>) -> bool {
        matches!(self.0.get(store), Val::I32(1))
    }
}

/// Builds what stands between driver and filter: `inside` is 1 while the filter runs, and stays so if it does not
/// return.
fn shim() -> Vec<u8> {
    let (mut types, mut imports, mut functions) = (TypeSection::new(), ImportSection::new(), FunctionSection::new());
    let (mut globals, mut exports, mut code) = (GlobalSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([ValType::I32; 3], [ValType::I32]);
    imports.import("filter", FILTER_ENTRIES[1].name, EntityType::Function(0));
    functions.function(0);
    let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(ty, &ConstExpr::i32_const(0));
    exports.export(IMPORT, ExportKind::Func, 1).export(INSIDE, ExportKind::Global, 0);
    let mut body = Function::new([]);
    let mut sink = body.instructions();
    sink.i32_const(1).global_set(0);
    sink.local_get(0).local_get(1).local_get(2).call(0);
    sink.i32_const(0).global_set(0).end();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports).section(&code);
    module.finish()
}
