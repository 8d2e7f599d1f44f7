//! An error as JSON: who did what, with which argument, against which rule.

use nook_abi::{Fault, Part};
use nook_runtime::NookError;
use serde_json::{Value, json};

/// Describes the error in words and in parts.
pub(super) fn describe(error: &NookError) -> Value {
    let mut parts = match error {
        NookError::Fault { fault, .. } => parts(fault),
        NookError::Refused { entry, status } => {
            json!({ "kind": "Refused", "entry": entry.info().name, "status": status.to_string() })
        }
        _ => json!({ "kind": "Other" }),
    };
    parts["text"] = error.to_string().into();
    parts
}

fn parts(fault: &Fault) -> Value {
    match *fault {
        Fault::Trap { entry, kind } => json!({ "kind": "Trap", "entry": entry.info().name, "trap": kind.to_string() }),
        Fault::CpuBudget { entry, limit_ns } => {
            json!({ "kind": "CpuBudget", "entry": entry.info().name, "limit_ns": limit_ns })
        }
        Fault::WallBudget { entry, limit_ns } => {
            json!({ "kind": "WallBudget", "entry": entry.info().name, "limit_ns": limit_ns })
        }
        Fault::OutOfBounds { call, argument, addr, len_bytes } => json!({
            "kind": "OutOfBounds", "call": call.info().name, "argument": argument, "value": addr,
            "len_bytes": len_bytes, "rule": "it lies in the driver's memory",
        }),
        Fault::BadArgument { call, argument, value, rule } => json!({
            "kind": "BadArgument", "call": call.info().name, "argument": argument, "value": value, "rule": rule,
        }),
        Fault::RegisterForbidden { call, bar, offset, rule } => json!({
            "kind": "RegisterForbidden", "call": call.info().name, "bar": bar, "argument": "offset",
            "value": offset, "rule": rule,
        }),
        Fault::StaleHandle { call, handle } => json!({
            "kind": "StaleHandle", "call": call.info().name, "argument": "handle", "value": handle,
            "rule": "a handle is used between its being given out and back",
        }),
        Fault::WrongContext { call, context } => json!({
            "kind": "WrongContext", "call": call.info().name, "context": context.to_string(),
        }),
        Fault::BadReturn { entry, value, rule } => json!({
            "kind": "BadReturn", "entry": entry.info().name, "value": value, "rule": rule,
        }),
        Fault::QueueCorrupt { queue, value, rule } => json!({
            "kind": "QueueCorrupt", "queue": queue, "value": value, "rule": rule,
        }),
        Fault::LogFlood { limit_per_s } => json!({ "kind": "LogFlood", "limit_per_s": limit_per_s }),
        Fault::InterruptStorm { vector, interrupts } => {
            json!({ "kind": "InterruptStorm", "vector": vector, "interrupts": interrupts })
        }
        Fault::InterruptsMasked { polls } => json!({ "kind": "InterruptsMasked", "polls": polls }),
        Fault::DeviceGone => json!({ "kind": "DeviceGone" }),
        Fault::DeviceFailed => json!({ "kind": "DeviceFailed" }),
        Fault::Revoked => json!({ "kind": "Revoked" }),
        Fault::Class(fault) => {
            let mut parts = json!({ "kind": fault.kind(), "class": fault.class().name() });
            fault.parts(&mut |name, part| {
                parts[name] = match part {
                    Part::Number(number) => number.into(),
                    Part::Text(text) => text.to_string().into(),
                };
            });
            parts
        }
    }
}
