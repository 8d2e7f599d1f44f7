#!/usr/bin/env bash
# clang's check for null pointers (clang 14 of Debian 12, -fsanitize=null) leaves pointers to volatile alone.
#
# Guess: with -fsanitize=null each access through a pointer is checked, those through a pointer to volatile before all: that
# is how C programs reach what a device shares with them, and where address 0 is ordinary memory (as in WebAssembly)
# nothing else notices a null pointer.
# Seen: a load or a store through `int *` has a check and a trap; the same through `volatile int *` has neither, at -O0 and
# -O1, for wasm32 and for x86-64, and no warning says so.
#
# Usage: findings/clang-null-volatile.sh   (Debian 12, amd64; needs apt-get; nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='1:14.0.6-12'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/archives/partial" "$folder/lists/partial" "$folder/sources" "$folder/tree"
: >"$folder/status"
apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) main' 'Created-By: Packages' | grep bookworm | sort -u \
    >"$folder/sources/bookworm.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$folder/none" -o Dir::Etc::sourceparts="$folder/sources"
    -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status"
    -o Dir::Cache::archives="$folder/archives" -o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache=""
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
{
    "${apt[@]}" update
    "${apt[@]}" -y --no-install-recommends --download-only install "clang-14=$version"
} >"$folder/log" 2>&1 || {
    echo "clang-14 $version could not be downloaded:" >&2
    tail -3 "$folder/log" >&2
    exit 2
}
for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder/tree"
done

root=$folder/tree
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu:$root/usr/lib/llvm-14/lib
clang=("$root/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/lib/llvm-14/bin/clang")
"${clang[@]}" --version | head -1

cat >"$folder/access.c" <<'C'
int load(KIND int *p) { return *p; }
void store(KIND int *p) { *p = 1; }
C

failed=0
for target in wasm32 x86_64-linux-gnu; do
    for level in -O0 -O1; do
        for kind in '' volatile; do
            "${clang[@]}" "--target=$target" "$level" "-DKIND=$kind" -Wall -Wextra -fsanitize=null -fsanitize-trap=null \
                -S -emit-llvm -o "$folder/access.ll" "$folder/access.c" 2>"$folder/said"
            checks=$(grep -c 'call void @llvm.ubsantrap' "$folder/access.ll" || true)
            echo "$target $level ${kind:-plain} pointers: $checks checks, $(wc -l <"$folder/said") lines of warnings"
            [ "$checks" = "$([ -z "$kind" ] && echo 2 || echo 0)" ] || failed=1
        done
    done
done
[ "$failed" = 0 ] || echo "this is not what was seen before" >&2
exit "$failed"
