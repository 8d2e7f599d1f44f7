#!/usr/bin/env bash
# QEMU's `edu` device (Debian's qemu-system-x86 7.2.22) loses a factorial that is asked for while another is computed.
#
# Guess, from QEMU's specification of the device (docs/specs/edu): it takes the value that was stored and puts the result
# in its place, so a second write would wait, replace the first, or be refused in a way that can be seen.
# Seen: the write is dropped. No register, no interrupt and no error tells of it; the register later holds the factorial
# of the *first* value, and one interrupt comes. And registers below 0x80 answer accesses of their width only: an
# aligned 64-bit read of the identification is all ones, though the two 32-bit reads in it are right, while a 64-bit
# write takes effect. A driver that passes requests on as they come answers the second with the first one's result;
# one that reads both halves at once believes that the device is gone.
#
# Usage: findings/qemu-edu-busy-write.sh   (Debian 12, amd64; needs apt-get, python3; no root, nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='1:7.2+dfsg-7+deb12u18+b3'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/archives/partial" "$folder/tree"
: >"$folder/status"
apt-get -qq -y --no-install-recommends --download-only -o Dir::State::status="$folder/status" \
    -o Dir::Cache::archives="$folder/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
    install "qemu-system-x86=$version" >"$folder/log" 2>&1 || {
    echo "qemu-system-x86 $version could not be downloaded:" >&2
    tail -3 "$folder/log" >&2
    exit 2
}
for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder/tree"
done

python3 - "$folder" <<'PYTHON'
import os, socket, subprocess, sys, time

folder = sys.argv[1]
root = folder + "/tree"
libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
qemu = [f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{root}/usr/bin/qemu-system-x86_64"]
# The reset vector of a "BIOS" that halts: no guest code runs, the device is driven over qtest.
bios = bytearray(b"\xf4" * 65536)
bios[0xFFF0:0xFFF4] = b"\xfa\xf4\xeb\xfd"
with open(folder + "/halt.bin", "wb") as file:
    file.write(bios)

print(subprocess.run(qemu + ["--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0])
machine = subprocess.Popen(
    qemu
    + ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults", "-display", "none"]
    + ["-machine", "q35,hpet=off,pit=off", "-accel", "tcg", "-bios", folder + "/halt.bin"]
    + ["-qtest", f"unix:{folder}/qtest,server=on,wait=off", "-qtest-log", "/dev/null", "-device", "edu,addr=5"],
    env={**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu"},
)
BAR, IDENTIFICATION, FACTORIAL, STATUS, IRQ_STATUS, IRQ_ACK = 0xE0000000, 0x00, 0x08, 0x20, 0x24, 0x64
IRQ_WHEN_DONE, COMPUTING = 0x80, 0x01
raised = 0


def ask(stream, *lines):
    """Sends the commands together; returns the answers. Counts interrupts that are raised meanwhile."""
    global raised
    stream.write("".join(line + "\n" for line in lines).encode())
    stream.flush()
    answers = []
    while len(answers) < len(lines):
        line = stream.readline().decode()
        if not line:
            sys.exit("the emulator ended")
        if line.startswith("IRQ"):
            raised += line.startswith("IRQ raise")
        else:
            answers.append(line.split()[1] if " " in line else "")
    return answers


def read(stream, width, offset):
    return int(ask(stream, f"read{width} {BAR + offset:#x}")[0], 16)


try:
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(400):
        try:
            connection.connect(folder + "/qtest")
            break
        except OSError:
            time.sleep(0.025)
    stream = connection.makefile("rwb")
    select = "outl 0xcf8 0x80002810", "outl 0xcfc 0xe0000000", "outl 0xcf8 0x80002804", "outl 0xcfc 0x6"
    ask(stream, "irq_intercept_in ioapic", *select)

    low, high = read(stream, "l", IDENTIFICATION), read(stream, "l", IDENTIFICATION + 4)
    both = read(stream, "q", IDENTIFICATION)
    print(f"identification: {low:#x} and {high:#x} by 32 bits, {both:#x} by 64")

    raised = 0
    ask(stream, f"writel {BAR + STATUS:#x} {IRQ_WHEN_DONE:#x}")
    # A large first value keeps the device busy for about a tenth of a second; the product is 0 (modulo 2^32).
    first = 100_000_000
    ask(stream, *[f"writel {BAR + FACTORIAL:#x} {value:#x}" for value in (first, 5)])
    busy = read(stream, "l", STATUS) & COMPUTING
    while read(stream, "l", STATUS) & COMPUTING:
        time.sleep(0.01)
    time.sleep(0.2)
    result, cause = read(stream, "l", FACTORIAL), read(stream, "l", IRQ_STATUS)
    print(f"factorial of {first}, then of 5 while busy ({busy}): register {result}, cause {cause:#x}, {raised} interrupt(s)")
finally:
    machine.terminate()
    machine.wait()

same = low == 0x010000ED and both == 0xFFFFFFFFFFFFFFFF and busy == 1 and result == 0 and cause == 1 and raised == 1
print("as described above" if same else "NOT as described above")
sys.exit(0 if same else 1)
PYTHON
