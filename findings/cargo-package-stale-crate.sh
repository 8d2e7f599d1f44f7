#!/usr/bin/env bash
# Shows that `cargo package` verifies a crate against a stale copy of a crate that it packages beside it.
#
# cargo 1.95.0 (pinned below). Two crates of one workspace, `second` depends on `first`, both 0.1.0 and not published.
# `cargo package` of both puts them into a temporary registry under the target directory and compiles `second` against
# it.
#
# Guess: each run compiles what is packaged in that run.
# Seen: what the first run unpacked stays in $CARGO_HOME/registry/src/-HASH/, and what it compiled in the target
# directory; both are taken again in the next run, although the first crate has changed. Only removing both helps. So a
# machine on which an older commit was packaged at the same path refuses a correct one, and passes a wrong one.
#
# Usage: findings/cargo-package-stale-crate.sh   (needs rustup)
# Exit status 0: still so. 1: the behaviour changed. 2: that cargo could not be had.
set -euo pipefail
version=1.95.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
command -v rustup >/dev/null || { echo "this needs rustup, to install cargo $version"; exit 2; }
RUSTUP_HOME=$folder/rustup rustup toolchain install "$version" --profile minimal --no-self-update >/dev/null 2>&1 \
    || { echo "cargo $version could not be installed with rustup"; exit 2; }
cargo=$(RUSTUP_HOME=$folder/rustup rustup which --toolchain "$version" cargo)
export PATH="${cargo%/*}:$PATH" CARGO_HOME=$folder/home CARGO_TARGET_DIR=$folder/target
cargo --version

mkdir -p first/src second/src
printf '[workspace]\nmembers = ["first", "second"]\nresolver = "2"\n' >Cargo.toml
for crate in first second; do
    printf '[package]\nname = "%s-example"\nversion = "0.1.0"\nedition = "2021"\n' "$crate" >"$crate/Cargo.toml"
    printf 'description = "an example"\nlicense = "MIT"\n' >>"$crate/Cargo.toml"
done
printf '[dependencies]\nfirst-example = { path = "../first", version = "0.1.0" }\n' >>second/Cargo.toml

# Writes both crates so that the second calls a function of that name of the first.
write() {
    echo "pub fn $1() -> u32 { 1 }" >first/src/lib.rs
    echo "pub fn two() -> u32 { first_example::$1() + 1 }" >second/src/lib.rs
}
package() {
    cargo package --offline --allow-dirty --quiet -p first-example -p second-example >out 2>&1 \
        && echo "$1: passed" || echo "$1: failed, $(grep -m 1 -o 'cannot find function.*' out || head -1 out)"
}

{
    write one
    package "first run"
    write changed
    package "the first crate has another function"
    rm -rf "$CARGO_TARGET_DIR"
    package "and the target directory is removed"
    rm -rf "$CARGO_HOME/registry/src"
    package "what cargo has unpacked is removed, the target directory is not"
    rm -rf "$CARGO_HOME/registry/src" "$CARGO_TARGET_DIR"
    package "both are removed"
} | tee seen
diff seen - <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
first run: passed
the first crate has another function: failed, cannot find function `changed` in crate `first_example`
and the target directory is removed: failed, cannot find function `changed` in crate `first_example`
what cargo has unpacked is removed, the target directory is not: failed, cannot find function `changed` in crate `first_example`
both are removed: passed
SEEN
