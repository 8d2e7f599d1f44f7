#!/usr/bin/env bash
# wasmtime 48.0.0: a `memory.copy` whose length is a constant of at most 128 bytes is no call but plain loads and stores,
# and a load behind it is answered from the register that was just stored, not from memory. `memory.fill` stays a call.
#
# Guess: bulk instructions are calls into the runtime, so they are a barrier: whatever another thread or a device writes
# to that memory is seen by the next load.
# Seen, in the machine code of a precompiled module: at 128 bytes eight vector loads and stores, at 129 a call; of "copy
# 4 bytes to A, load A" only one load is left, that of the source. With a length that the compiler does not know, both
# the call and the load are there. Code that copies a small fixed header out of memory that a device writes, and counts
# on the copy to be fresh or to order other accesses, is wrong without a word from any compiler.
#
# Usage: findings/wasmtime-constant-copy.sh   (x86-64; needs python3 with pip, and binutils' objdump)
# Exit status 0: still so. 1: the behaviour changed. 2: the package could not be had.
set -euo pipefail

command -v objdump >/dev/null || { echo "objdump is missing: install binutils" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$folder/packages" wasmtime==48.0.0 || exit 2

PYTHONPATH="$folder/packages" python3 - "$folder/module.cwasm" <<'PYTHON'
import re, subprocess, sys
import wasmtime

MODULE = """(module (memory 1 1)
  (func (export "copy 128") (memory.copy (i32.const 0) (i32.const 4096) (i32.const 128)))
  (func (export "copy 129") (memory.copy (i32.const 0) (i32.const 4096) (i32.const 129)))
  (func (export "fill 4") (memory.fill (i32.const 0) (i32.const 255) (i32.const 4)))
  (func (export "copy 4, load") (result i32)
    (memory.copy (i32.const 0) (i32.const 4096) (i32.const 4)) (i32.load (i32.const 0)))
  (func (export "copy n, load") (param i32) (result i32)
    (memory.copy (i32.const 0) (i32.const 4096) (local.get 0)) (i32.load (i32.const 0))))"""
names = re.findall(r'export "([^"]+)"', MODULE)
with open(sys.argv[1], "wb") as file:
    file.write(wasmtime.Module(wasmtime.Engine(), MODULE).serialize())
code = subprocess.run(["objdump", "-d", sys.argv[1]], capture_output=True, text=True, check=True).stdout

seen = {}
for number, body in re.findall(r"<wasm\[0\]::function\[(\d+)\]>:\n(.*?)(?:\n\n|\Z)", code, re.S):
    calls = len(re.findall(r"\bcall\b.*memory_(?:copy|fill)", body))
    # A load of 4 bytes into eax, the result.
    results = len(re.findall(r"\bmov +(?:0x[0-9a-f]+)?\(%r\w+\),%eax", body))
    seen[names[int(number)]] = (calls, results)
print("wasmtime 48.0.0; function: (calls of the runtime, loads of the result)")
for name in names:
    print(f"  {name}: {seen[name]}")
# In "copy 4, load" the one load is of the source: the result was never read back from where it was copied to.
source = re.search(r"function\[3\]>:\n.*?mov +0x1000\(%r\w+\),%eax\n.*?mov +%eax,\(%r\w+\)\n", code, re.S)
same = seen["copy 128"][0] == 0 and seen["copy 129"][0] == 1 and seen["fill 4"][0] == 1
same = same and seen["copy 4, load"] == (0, 1) and bool(source) and seen["copy n, load"] == (1, 1)
print("as described above" if same else "NOT as described above")
sys.exit(0 if same else 1)
PYTHON
