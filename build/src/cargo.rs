//! Calling cargo, and what it says of what it built.

use crate::command;
use anyhow::{Context, Result};
use serde_json::Value;
use std::env;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns a cargo command in this folder. Variables that `cargo run` sets for us are taken out again: with them cargo
/// would see another environment than when a person types the command, and would build some crates twice.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
    command
}

/// Returns the triple that the active rustc compiles for by default.
///
/// # Errors
/// If there is no rustc.
pub fn host_triple() -> Result<String> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let version = command::output(rustc.arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_string())
}

/// Runs a building cargo command and returns the files it made (or found fresh): executables and libraries.
/// What cargo and the compiler have to say goes to stderr as usual, except warnings with the text `expected`. `flags`
/// are for the compiler of the last crate alone, of a `cargo rustc`.
///
/// # Errors
/// If it cannot start, or does not end with 0.
pub fn artifacts(cargo: &mut Command, expected: Option<&str>, flags: &[&str]) -> Result<Vec<PathBuf>> {
    let format = if std::io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" };
    cargo.arg(format!("--message-format={format}")).stdout(Stdio::piped());
    if !flags.is_empty() {
        cargo.arg("--").args(flags);
    }
    let mut child = command::spawn(cargo)?;
    let stdout = child.stdout.take().context("cargo's output is not a pipe")?;
    let mut files = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.with_context(|| format!("reading from `{}`", command::shown(cargo)))?;
        // Only lines that are messages matter; a build script may print anything.
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            files.extend(files_of(&message));
            if let Some(text) = diagnostic(&message, expected) {
                eprint!("{text}");
            }
        }
    }
    let status = child.wait().with_context(|| format!("waiting for `{}`", command::shown(cargo)))?;
    command::check(cargo, status)?;
    Ok(files)
}

/// Returns what `cargo metadata` prints.
///
/// # Errors
/// If it fails, as it does in a folder that is no package. What it says of that goes to stderr.
pub fn metadata(cargo: &mut Command, args: &[&str]) -> Result<Value> {
    cargo.args(["metadata", "--format-version", "1"]).args(args).stderr(Stdio::inherit());
    let text = command::output(cargo)?;
    serde_json::from_str(&text).with_context(|| format!("`{}` printed what is not JSON", command::shown(cargo)))
}

/// Returns the elements of an array; none of what is no array.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn files_of(message: &Value) -> Vec<PathBuf> {
    if message["reason"] != "compiler-artifact" {
        return Vec::new();
    }
    list(&message["filenames"]).iter().filter_map(Value::as_str).map(PathBuf::from).collect()
}

/// Returns what the compiler said, as it would have printed it.
fn diagnostic<'a>(message: &'a Value, expected: Option<&str>) -> Option<&'a str> {
    let said = &message["message"];
    if message["reason"] != "compiler-message" || expected.is_some() && said["message"].as_str() == expected {
        return None;
    }
    said["rendered"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_messages_about_artifacts_name_files() {
        let artifact = json!({"reason": "compiler-artifact", "filenames": ["/t/a.wasm"]});
        assert_eq!(files_of(&artifact), [PathBuf::from("/t/a.wasm")]);
        assert!(files_of(&json!({"reason": "build-finished", "filenames": ["/t/a.wasm"]})).is_empty());
    }

    #[test]
    fn what_the_compiler_says_is_shown_unless_it_is_expected() {
        let said = json!({"reason": "compiler-message", "message": {"message": "odd", "rendered": "warning: odd\n"}});
        assert_eq!(diagnostic(&said, None), Some("warning: odd\n"));
        assert_eq!(diagnostic(&said, Some("other")), Some("warning: odd\n"));
        assert_eq!(diagnostic(&said, Some("odd")), None);
        assert_eq!(diagnostic(&json!({"reason": "build-finished"}), None), None);
    }
}
