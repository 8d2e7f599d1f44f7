//! The state folder: what this user's runs leave for later ones, crash bundles and accepted register maps.

use std::path::{Path, PathBuf};

/// The variable that names it.
pub const VARIABLE: &str = "NOOK_STATE";

/// Finds the folder: the one that was named, or `$NOOK_STATE`, `$XDG_STATE_HOME/nook` or `~/.local/state/nook`. It need
/// not be there. There is none for a user without a home.
pub fn folder(named: Option<&Path>) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || {
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        state.map(|state| state.join("nook"))
    };
    named.map(Path::to_owned).or_else(|| set(VARIABLE)).or_else(of_user)
}
