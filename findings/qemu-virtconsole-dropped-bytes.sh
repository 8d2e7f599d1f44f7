#!/usr/bin/env bash
# QEMU's virtio console (QEMU 7.2 of Debian 12) says of bytes that it drops that they were sent.
#
# Guess: a back end that takes nothing more holds the console up, as it does QEMU's 16550: what it does not take stays in
# the queue, and goes on when it takes more.
# Seen: each buffer is used at once, whether the socket behind the console takes its bytes or not. Below, 1024 buffers of
# 64 bytes are sent one after the other while the far end reads nothing. All are used; then the far end reads some 18 KB, in
# order, and the rest never comes. With a far end that reads each buffer as it comes, all arrive.
#
# Usage: findings/qemu-virtconsole-dropped-bytes.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
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
import os, random, socket, struct, subprocess, sys, time

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

BAR, NOTIFY = 0xE0000000, 0xE0003004
# Where in RAM the three parts of the queue of port 0 and the buffers are (VIRTIO 1.2, 2.7); it has 128 descriptors.
DESCRIPTORS, AVAILABLE, USED, BUFFERS, LENGTH = 0x100000, 0x101000, 0x102000, 0x103000, 64
COUNT = 1024
source = random.Random(1).randbytes(LENGTH * COUNT)


class Device:
    """A console in an emulator, with its registers (BAR 4) in place, and the far end of its line."""

    def __init__(self):
        arguments = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults"]
        arguments += ["-display", "none", "-m", "16M", "-machine", "q35,hpet=off", "-accel", "tcg"]
        arguments += ["-bios", folder + "/halt.bin", "-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        arguments += ["-qtest-log", "/dev/null", "-chardev"]
        arguments += [f"socket,id=line,path={folder}/line,server=on,wait=off"]
        arguments += ["-device", "virtio-serial-pci,addr=5,disable-legacy=on", "-device", "virtconsole,chardev=line"]
        environment = {**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu"}
        self.machine = subprocess.Popen(qemu + arguments, env=environment, stderr=subprocess.DEVNULL)
        connection, self.far = self.connected("qtest"), self.connected("line")
        self.far.settimeout(3)
        self.stream = connection.makefile("rwb")
        for offset, value in [(0x20, BAR), (0x24, 0), (0x04, 0x6)]:
            self.ask(f"outl 0xcf8 {0x80002800 + offset:#x}")
            self.ask(f"outl 0xcfc {value:#x}")
        self.write("b", 0x14, 0)
        self.write("b", 0x14, 0x3)
        self.write("l", 0x08, 1)
        self.write("l", 0x0C, 1)
        self.write("b", 0x14, 0xB)
        self.write("w", 0x16, 1)
        for register, address in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)]:
            self.write("l", register, address)
            self.write("l", register + 4, 0)
        self.write("w", 0x1C, 1)
        self.write("b", 0x14, 0xF)
        # The far end is accepted then.
        time.sleep(0.5)

    def connected(self, name):
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(400):
            try:
                connection.connect(f"{folder}/{name}")
                break
            except OSError:
                time.sleep(0.025)
        return connection

    def ask(self, line):
        self.stream.write((line + "\n").encode())
        self.stream.flush()
        answer = self.stream.readline().decode()
        if not answer:
            sys.exit("the emulator ended")
        return answer.split()[1] if " " in answer else ""

    def write(self, width, register, value):
        self.ask(f"write{width} {BAR + register:#x} {value:#x}")

    def memory(self, address, content=None, length=0):
        if content is None:
            return bytes.fromhex(self.ask(f"read {address:#x} {length}")[2:])
        return self.ask(f"write {address:#x} {len(content)} 0x{content.hex()}")

    def send(self, number):
        """Sends part `number` of the source, and waits until its buffer is used."""
        self.memory(BUFFERS, source[LENGTH * number : LENGTH * (number + 1)])
        self.memory(DESCRIPTORS, struct.pack("<QIHH", BUFFERS, LENGTH, 0, 0))
        self.memory(AVAILABLE + 4 + 2 * (number % 128), struct.pack("<H", 0))
        self.memory(AVAILABLE, struct.pack("<HH", 0, number + 1))
        self.ask(f"writew {NOTIFY:#x} 1")
        for _ in range(400):
            _, index = struct.unpack("<HH", self.memory(USED, length=4))
            if index == number + 1:
                return True
            time.sleep(0.005)
        return False

    def received(self, most):
        """Reads what comes, until nothing more does."""
        got = b""
        while len(got) < most:
            try:
                got += self.far.recv(most - len(got))
            except TimeoutError:
                break
        return got

    def end(self):
        self.machine.terminate()
        self.machine.wait()
        for name in ["qtest", "line"]:
            if os.path.exists(f"{folder}/{name}"):
                os.unlink(f"{folder}/{name}")


seen = {}
for far_end in ["reads late", "reads at once"]:
    device = Device()
    try:
        got, used = b"", 0
        for number in range(COUNT):
            used += device.send(number)
            if far_end == "reads at once":
                got += device.received(LENGTH)
        got += device.received(len(source) - len(got))
        seen[far_end] = (used, len(got), source.startswith(got))
    finally:
        device.end()
for far_end, (used, length, in_order) in seen.items():
    order = "in order" if in_order else "not in order"
    print(f"the far end {far_end}: {used} of {COUNT} buffers used, {length} of {len(source)} bytes arrived, {order}")
late, at_once = seen["reads late"], seen["reads at once"]
if at_once != (COUNT, len(source), True) or late[0] != COUNT or late[1] >= len(source) or not late[2]:
    sys.exit("expected: all used; all bytes where they are read at once, and fewer otherwise")
PYTHON
