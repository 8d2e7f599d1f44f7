#!/usr/bin/env bash
# QEMU's virtio source of random bytes (QEMU 7.2 of Debian 12) reads bytes of its back end that it gives to nobody.
#
# Guess: the device reads as many bytes as its buffers have room for. So a driver that asks for one buffer at a time gets
# all bytes of a FIFO, in their order.
# Seen: the device asks its back end each time that it looks at the queue, also while what it has asked for is under way:
# twice when the driver says DRIVER_OK, and at each notification. What the back end has for the later looks comes when
# there is no buffer any more, and is thrown away. Below, one buffer of 32 bytes is there before DRIVER_OK, and is announced
# once after it. It gets the first 32 bytes; the next buffer begins with byte 96. If it is added after the device was
# started and had looked, nothing is lost.
#
# Usage: findings/qemu-virtio-rng-dropped-bytes.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
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

BAR, NOTIFY = 0xE0000000, 0xE0003000
# Where in RAM the queue's three parts and the buffers are (VIRTIO 1.2, 2.7); the queue has 8 descriptors.
DESCRIPTORS, AVAILABLE, USED, BUFFERS, LENGTH = 0x100000, 0x101000, 0x102000, 0x103000, 32
source = random.Random(1).randbytes(256)


class Device:
    """A source of random bytes in an emulator, with its registers (BAR 4) in place, that reads an empty FIFO."""

    def __init__(self):
        os.mkfifo(folder + "/fifo")
        self.fifo = os.open(folder + "/fifo", os.O_RDWR)
        arguments = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults"]
        arguments += ["-display", "none", "-m", "16M", "-machine", "q35,hpet=off", "-accel", "tcg"]
        arguments += ["-bios", folder + "/halt.bin", "-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        arguments += ["-qtest-log", "/dev/null", "-object", f"rng-random,id=source,filename={folder}/fifo"]
        arguments += ["-device", "virtio-rng-pci,rng=source,addr=5,disable-legacy=on"]
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
        for offset, value in [(0x20, BAR), (0x24, 0), (0x04, 0x6)]:
            self.ask(f"outl 0xcf8 {0x80002800 + offset:#x}")
            self.ask(f"outl 0xcfc {value:#x}")
        self.write("b", 0x14, 0)
        self.write("b", 0x14, 0x3)
        self.write("l", 0x08, 1)
        self.write("l", 0x0C, 1)
        self.write("b", 0x14, 0xB)
        self.write("w", 0x16, 0)
        for register, address in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)]:
            self.write("l", register, address)
            self.write("l", register + 4, 0)
        self.write("w", 0x1C, 1)

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

    def add(self, number):
        """Makes buffer `number` available."""
        self.memory(DESCRIPTORS + 16 * number, struct.pack("<QIHH", BUFFERS + LENGTH * number, LENGTH, 2, 0))
        self.memory(AVAILABLE + 4 + 2 * number, struct.pack("<H", number))
        self.memory(AVAILABLE, struct.pack("<HH", 0, number + 1))

    def announce(self):
        self.ask(f"writew {NOTIFY:#x} 0")

    def filled(self, number):
        """Waits until the device has filled buffer `number`, and returns where in the source its content is."""
        for _ in range(400):
            _, index = struct.unpack("<HH", self.memory(USED, length=4))
            if index > number:
                return source.find(self.memory(BUFFERS + LENGTH * number, length=LENGTH))
            time.sleep(0.025)
        return None

    def end(self):
        self.machine.terminate()
        self.machine.wait()
        os.close(self.fifo)
        os.unlink(folder + "/fifo")
        if os.path.exists(folder + "/qtest"):
            os.unlink(folder + "/qtest")


seen = {}
for order in ["before", "after"]:
    device = Device()
    try:
        if order == "before":
            device.add(0)
        device.write("b", 0x14, 0xF)
        # Whatever the device does by itself at its start has been done then.
        time.sleep(0.5)
        if order == "after":
            device.add(0)
        device.announce()
        time.sleep(0.5)
        os.write(device.fifo, source)
        first = device.filled(0)
        time.sleep(0.5)
        device.add(1)
        device.announce()
        seen[order] = [first, device.filled(1)]
    finally:
        device.end()
for order, (first, second) in seen.items():
    print(f"first buffer there {order} DRIVER_OK: it begins with byte {first}, the second one with byte {second}")
expected = {"before": [0, 96], "after": [0, 32]}
if seen != expected:
    sys.exit(f"expected: {expected}")
PYTHON
