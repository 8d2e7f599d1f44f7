#!/usr/bin/env bash
# QEMU's virtio devices (QEMU 7.2 of Debian 12) take a vector for their interrupts while MSI-X is off, and say that they did.
#
# Guess: a device whose MSI-X is off has only its line, so a vector that is written is refused: it reads back as 0xffff
# (VIRTIO 1.2, section 4.1.5.1.2.1). So a driver can learn by writing one whether it will get messages.
# Seen: each number below `vectors=` reads back as it was written, with MSI-X on and off; all others, and every one with
# `vectors=0`, read back as 0xffff. With `vectors=1`, vector 1 is refused and 0 is taken. So what reads back says what the
# device has, and not how it interrupts; a driver with one vector must look at the ISR status as well.
#
# Usage: findings/qemu-virtio-vectors.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='1:7.2+dfsg-7+deb12u18+b3'
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
    "${apt[@]}" -y --no-install-recommends --download-only install "qemu-system-x86=$version"
} >"$folder/log" 2>&1 || {
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

BAR = 0xE0000000
CONFIG_VECTOR, QUEUE_VECTOR, ENABLE = 0x10, 0x1A, 1 << 31
NONE = 0xFFFF


class Device:
    """A network card in an emulator, with its registers (BAR 4) in place."""

    def __init__(self, option):
        arguments = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults"]
        arguments += ["-display", "none", "-m", "16M", "-machine", "q35,hpet=off", "-accel", "tcg"]
        arguments += ["-bios", folder + "/halt.bin", "-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        arguments += ["-qtest-log", "/dev/null", "-device", f"virtio-net-pci,addr=5,romfile=,disable-legacy=on{option}"]
        environment = {**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu"}
        self.machine = subprocess.Popen(qemu + arguments, env=environment, stderr=subprocess.DEVNULL)
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(400):
            try:
                connection.connect(folder + "/qtest")
                break
            except OSError:
                time.sleep(0.025)
        self.stream = connection.makefile("rwb")
        self.configure(0x20, BAR)
        self.configure(0x24, 0)
        self.configure(0x04, 0x6)

    def ask(self, line):
        self.stream.write((line + "\n").encode())
        self.stream.flush()
        answer = self.stream.readline().decode()
        if not answer:
            sys.exit("the emulator ended")
        return int(answer.split()[1], 16) if " " in answer else 0

    def configure(self, offset, value=None):
        self.ask(f"outl 0xcf8 {0x80002800 + offset:#x}")
        return self.ask("inl 0xcfc") if value is None else self.ask(f"outl 0xcfc {value:#x}")

    def msix(self):
        """Returns where the capability is, if there is one."""
        at = self.configure(0x34) & 0xFC
        while at:
            word = self.configure(at)
            if word & 0xFF == 0x11:
                return at
            at = word >> 8 & 0xFC
        return None

    def taken(self, register, vector):
        self.ask(f"writew {BAR + register:#x} {vector:#x}")
        return self.ask(f"readw {BAR + register:#x}")

    def end(self):
        self.machine.terminate()
        self.machine.wait()
        if os.path.exists(folder + "/qtest"):
            os.unlink(folder + "/qtest")


seen = {}
for option in ["", ",vectors=1", ",vectors=0"]:
    device = Device(option)
    try:
        at = device.msix()
        states = ["no MSI-X"] if at is None else ["MSI-X off", "MSI-X on"]
        for state in states:
            if at is not None:
                control = device.configure(at) & ~ENABLE
                device.configure(at, control | (ENABLE if state == "MSI-X on" else 0))
            vectors = [[device.taken(register, n) for n in (0, 1, 9)] for register in (CONFIG_VECTOR, QUEUE_VECTOR)]
            seen[f"virtio-net-pci{option}, {state}"] = vectors
    finally:
        device.end()
for what, vectors in seen.items():
    print(f"{what}: of 0, 1 and 9 reads back {vectors[0]} (configuration), {vectors[1]} (queue 0)")
several, one, none = [0, 1, NONE], [0, NONE, NONE], [NONE, NONE, NONE]
expected = [several, several, one, one, none]
if list(seen.values()) != [[line, line] for line in expected]:
    sys.exit(f"expected: {expected}")
PYTHON
