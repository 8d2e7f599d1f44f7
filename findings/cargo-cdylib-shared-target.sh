#!/usr/bin/env bash
# Shows that cargo hands out, as fresh, a shared object that it built for somebody else: without the features that were
# asked for.
#
# cargo 1.95.0 (pinned below). A library that is both a cdylib and an rlib, with a feature; a program of another
# workspace that depends on it; both are built into one target directory, with the same profile and `--target`.
#
# Guess: what is compiled with other features has another file name, or is compiled again.
# Seen: the rlib's name has a hash, the cdylib's has none, so the program's build writes its object over the one with
# the feature. The next build of the library is right if the library has changed. If only a dependency has, and was
# compiled with the feature already (for a second library), cargo finds an object that is newer than all that it is made
# of, says that it is fresh, and hands out the program's.
#
# Usage: findings/cargo-cdylib-shared-target.sh   (needs rustup)
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
triple=$(rustc -vV | sed -n 's/^host: //p')

mkdir -p common/src one/src two/src program/src
printf '[workspace]\nmembers = ["common", "one", "two"]\nexclude = ["program"]\nresolver = "2"\n' >Cargo.toml
crate() { printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n' "$1"; }
{ crate common; printf '[features]\nspecial = []\n'; } >common/Cargo.toml
echo 'pub const MARK: &str = if cfg!(feature = "special") { "it is special" } else { "it is usual" };' >common/src/lib.rs
for name in one two; do
    { crate "$name"; printf '[lib]\ncrate-type = ["cdylib", "rlib"]\n[dependencies]\ncommon = { path = "../common" }\n'; } \
        >"$name/Cargo.toml"
    printf '#[no_mangle]\npub static MARK: &str = common::MARK;\n' >"$name/src/lib.rs"
done
{ crate program; printf '[workspace]\n[dependencies]\ntwo = { path = "../two" }\n'; } >program/Cargo.toml
echo 'fn main() { println!("{}", two::MARK); }' >program/src/main.rs

special() {
    cargo rustc --offline --quiet --target "$triple" --manifest-path "$1/Cargo.toml" --lib --crate-type cdylib \
        --features common/special
}
all() {
    special one
    cargo build --offline --quiet --target "$triple" --manifest-path program/Cargo.toml
    special two
    echo "$1: $(grep -a -m 1 -o 'it is [a-z]*' "target/$triple/debug/libtwo.so")"
}

{
    all "built from nothing"
    sleep 1
    echo '// Changed.' >>common/src/lib.rs
    all "and again, as the dependency has changed"
    echo '// Changed.' >>two/src/lib.rs
    special two
    echo "and the library, as it has changed: $(grep -a -m 1 -o 'it is [a-z]*' "target/$triple/debug/libtwo.so")"
} | tee seen
diff seen - <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
built from nothing: it is special
and again, as the dependency has changed: it is usual
and the library, as it has changed: it is special
SEEN
