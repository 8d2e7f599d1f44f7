//! From wasm imports to [`Services`], expanded from the hostcall table; and from the engine's traps to faults.

use nook_abi::{Addr, HINT_MODULE, Hostcall, IMPORT_MODULE, Topic, TrapKind, padded};
use wasmtime::{Caller, Instance, Linker, Store, Trap, TypedFunc, WasmParams, WasmResults};

use crate::call_trace::Word;
use crate::{Host, Services, doorbells};

/// The wasm type of a table type, and back.
macro_rules! wasm_type {
    (Addr) => {
        u32
    };
    ($ty:tt) => {
        $ty
    };
}

macro_rules! from_wasm {
    ($value:ident Addr) => {
        $value as Addr
    };
    ($value:ident $ty:tt) => {
        $value
    };
}

macro_rules! define_link {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Defines every hostcall. A fault becomes the error that ends the call.
        pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
            $(
                linker.func_wrap(
                    IMPORT_MODULE,
                    stringify!($name),
                    |mut caller: Caller<'_, Host>, $($arg: wasm_type!($ty)),*| -> wasmtime::Result<wasm_type!($result)> {
                        let host = caller.data_mut();
                        if let Some(player) = host.player() {
                            let answer = player.called(Hostcall::$variant, padded([$($arg as u64),*]));
                            return answer.map(Word::of_word).map_err(wasmtime::Error::new);
                        }
                        let mut admitted = host.admit(Hostcall::$variant);
                        if const { doorbells::come_before(Topic::$topic, Hostcall::$variant) } {
                            admitted = admitted.and_then(|()| host.ring_doorbells());
                        }
                        let outcome = match admitted {
                            Ok(()) => host.$name($(from_wasm!($arg $ty)),*),
                            Err(fault) => Err(fault),
                        };
                        host.call.trace.hostcall(Hostcall::$variant, padded([$($arg as u64),*]), &outcome);
                        host.record_called(Hostcall::$variant, padded([$($arg as u64),*]), || {
                            outcome.as_ref().map(Word::word).map_err(|fault| *fault)
                        });
                        outcome.map_err(wasmtime::Error::new)
                    },
                )?;
            )*
            Ok(())
        }
    };
}

nook_abi::hostcalls!(define_link);

macro_rules! define_link_hints {
    ($({ $doc:literal } $since:tt $variant:ident fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Defines every hint: a module still imports what it called. Nothing calls it any more.
        pub(crate) fn link_hints(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
            $(
                linker.func_wrap(
                    HINT_MODULE,
                    stringify!($name),
                    |$(_: wasm_type!($ty)),*| -> wasmtime::Result<wasm_type!($result)> {
                        wasmtime::bail!("a hint that the loader did not replace")
                    },
                )?;
            )*
            Ok(())
        }
    };
}

nook_abi::hints!(define_link_hints);

/// Returns a function that an instance exports, if it exports one of this name.
///
/// # Errors
/// If it has another type.
pub(crate) fn exported<A: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &str,
) -> wasmtime::Result<Option<TypedFunc<A, R>>> {
    instance.get_func(&mut *store, name).map(|function| function.typed(&mut *store)).transpose()
}

/// Returns what the driver did, of what the engine says.
pub(crate) fn trap_kind(trap: Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::HeapMisaligned => TrapKind::Misaligned,
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => TrapKind::Arithmetic,
        Trap::IndirectCallToNull | Trap::BadSignature | Trap::TableOutOfBounds => TrapKind::IndirectCall,
        Trap::StackOverflow => TrapKind::StackOverflow,
        _ => TrapKind::Other,
    }
}

/// Returns the address that a trap was about, if it was one outside a memory and the engine says which: it wraps its
/// error in one that only has a text.
pub(crate) fn outside(error: &wasmtime::Error) -> Option<u64> {
    let Some(Trap::MemoryOutOfBounds) = error.downcast_ref::<Trap>() else { return None };
    let texts = error.chain().map(ToString::to_string);
    let mut told = texts.filter_map(|text| {
        let hex = text.strip_prefix("memory fault at wasm address 0x")?.split(' ').next()?.to_owned();
        u64::from_str_radix(&hex, 16).ok()
    });
    told.next()
}
