//! Why a call was not rolled back, as reports and crash bundles have it.

use nook_runtime::NoRollback;
use serde::Serialize;

/// The reason in words, and beside it in parts: `reason` says its kind, `why` that of what has reached the device, and
/// `read` and `written` are registers by place and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoRollbackReport {
    /// In words.
    pub text: String,
    /// In parts.
    #[serde(flatten)]
    pub reason: NoRollback,
}

impl From<&NoRollback> for NoRollbackReport {
    fn from(reason: &NoRollback) -> Self {
        NoRollbackReport { text: reason.to_string(), reason: reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use nook_runtime::{Irreversible, RegisterName};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_has_words_and_parts() {
        let json = |reason: NoRollback| serde_json::to_value(NoRollbackReport::from(&reason)).unwrap();
        let name = |name: &str, offset| RegisterName { bar: 1, offset, name: name.into() };
        let why = Irreversible::ReadAfterWrite { read: name("TSD[3]", 0x1c), written: name("ISR", 0x3e) };
        assert_eq!(
            json(NoRollback::Irreversible(why)),
            json!({
                "text": "TSD[3] was read after ISR was written",
                "reason": "irreversible",
                "why": "read_after_write",
                "read": {"bar": 1, "offset": 0x1c, "name": "TSD[3]"},
                "written": {"bar": 1, "offset": 0x3e, "name": "ISR"},
            })
        );
        assert_eq!(
            json(NoRollback::NotATransaction { entry: "open" }),
            json!({"text": "the last call, `open`, is not a transaction", "reason": "not_a_transaction", "entry": "open"})
        );
        assert_eq!(json(NoRollback::Over)["reason"], "over");
    }
}
