"""Boot images that are cut off, damaged or malicious. Whatever they hold, something clear is said, and nothing hangs: the machine is
switched off as failed, or what is sound runs."""
import random
import struct
import zlib

import qemu
from image import cpio
from scenario import scenario
from system_facts import shell

FAILED = r"KERNEL PANIC: (?:the boot image|bin/init|no boot image|cannot start init|init )|init: cannot start the system: "
EHDR, PHDR = 64, 56


def sound_files(arch):
    """{path: bytes} of the built image."""
    return {path: data for path, (_, data) in cpio.read((qemu.ROOT / "build" / arch / "boot" / "boot.img").read_bytes()).items()}


def boot_bytes(t, data):
    """Boots an image of these bytes; gives (whether init started services, what was said, QEMU's exit code or None)."""
    path = t.folder / "damaged.img"
    path.write_bytes(data)
    machine = t.boot(image=path, net="none", rng=False, http_port=None)
    try:
        end = machine.expect(rf"{FAILED}|init: (\d+ of )?\d+ services started|PANIC", 20)
        is_started = "services started" in end[0]
        return is_started, machine.serial, None if is_started else machine.wait_exit(20)
    finally:
        machine.stop()
        t.machines.remove(machine)


def check_refused(t, data, what):
    is_started, said, code = boot_bytes(t, data)
    t.check(not is_started, f"{what}: the system started")
    t.check(code not in (0, None), f"{what}: exit code {code}: {said[-300:]}")


# -- cut off -----------------------------------------------------------------------------------------------------------------

def boundaries(data):
    """Where records begin and end: headers, names, data; and the end of what is not zero, as memory behind the image is."""
    found, end = set(), 0
    for _, (offset, content) in cpio.read(data).items():
        found |= {end, end + cpio.HEADER_BYTES, offset, offset + len(content)}
        end = (offset + len(content) + 3) // 4 * 4
    return sorted(found), data.index(cpio.TRAILER.encode(), end) + len(cpio.TRAILER)


@scenario(arches=("x86_64",), cpus=(1,), timeout=240)
def cut_off(t):
    data = (qemu.ROOT / "build" / t.arch / "boot" / "boot.img").read_bytes()
    edges, needed = boundaries(data)
    cuts = sorted({edge + d for edge in edges for d in (-1, 0, 1)} & set(range(1, needed)))
    chance = random.Random(1)
    cuts += [chance.randrange(1, needed) for _ in range(t.scaled(10, 2_000))]
    chosen = cuts if t.scaled(0, 1) else sorted({cuts[0], cuts[1], needed - 1, *chance.sample(cuts, 40)})
    for cut in chosen:
        check_refused(t, data[:cut], f"cut off at {cut} of {len(data)}")
    t.note(f"{len(chosen)} of {len(cuts)} cuts")


# -- init and the manifest ---------------------------------------------------------------------------------------------------

def patched(data, *changes):
    """With (offset, format, value) written over it."""
    out = bytearray(data)
    for offset, kind, value in changes:
        struct.pack_into(kind, out, offset, value)
    return bytes(out)


def bad_programs(program, chance):
    """[(what is wrong, bytes)] of a sound ELF program: each must be refused before it runs."""
    offset = struct.unpack_from("<Q", program, 32)[0]
    count = struct.unpack_from("<H", program, 56)[0]
    loads = [offset + i * PHDR for i in range(count) if struct.unpack_from("<I", program, offset + i * PHDR)[0] == 1]
    first, last = loads[0], loads[-1]
    return [
        ("empty", b""),
        ("one byte", program[:1]),
        ("half a header", program[:EHDR // 2]),
        ("only a header", program[:EHDR]),
        ("cut in its program headers", program[:offset + PHDR]),
        ("half of it", program[:len(program) // 2]),
        ("a script", b"#!/bin/sh\nexit 0\n"),
        ("noise", chance.randbytes(4096)),
        ("another machine", patched(program, (18, "<H", 3))),
        ("32 bits", patched(program, (4, "<B", 1))),
        ("big endian", patched(program, (5, "<B", 2))),
        ("not position independent", patched(program, (16, "<H", 2))),
        ("program headers behind its end", patched(program, (32, "<Q", len(program)))),
        ("program headers at the top", patched(program, (32, "<Q", (1 << 64) - 8))),
        ("65535 program headers", patched(program, (56, "<H", 65_535))),
        ("program headers of 1 byte", patched(program, (54, "<H", 1))),
        ("entry outside", patched(program, (24, "<Q", 1 << 40))),
        ("entry in its data", patched(program, (24, "<Q", struct.unpack_from("<Q", program, last + 16)[0]))),
        ("a segment behind the file's end", patched(program, (first + 8, "<Q", len(program) + 4096))),
        ("a segment larger than the file", patched(program, (first + 32, "<Q", 1 << 30), (first + 40, "<Q", 1 << 30))),
        ("more in the file than in memory", patched(program, (last + 40, "<Q", 0))),
        ("sizes that wrap", patched(program, (last + 32, "<Q", (1 << 64) - 1), (last + 40, "<Q", (1 << 64) - 1))),
        ("an address that wraps", patched(program, (last + 16, "<Q", (1 << 64) - 4096))),
        ("an address of the kernel", patched(program, (last + 16, "<Q", 0xFFFFFFFF80000000))),
        ("writable and executable", patched(program, (first + 4, "<I", 7))),
        ("all of the address space", patched(program, (last + 40, "<Q", (1 << 64) - (1 << 20)))),
        ("an interpreter", patched(program, (first, "<I", 3))),
    ]


@scenario(arches=("x86_64",), cpus=(1,), timeout=180)
def bad_init(t):
    files = sound_files(t.arch)
    for what, program in bad_programs(files["bin/init"], random.Random(2)):
        check_refused(t, cpio.archive({**files, "bin/init": program}), f"init: {what}")
    check_refused(t, cpio.archive({p: d for p, d in files.items() if p != "bin/init"}), "no init")
    check_refused(t, cpio.archive(files, align=4), "an image whose files are not aligned")


def with_checksum(manifest, at):
    """The checksum at this offset made right: CRC-32 over the file with this field zero."""
    return manifest[:at] + struct.pack("<I", zlib.crc32(manifest[:at] + b"\0\0\0\0" + manifest[at + 4:])) + manifest[at + 4:]


def find_checksum(manifest):
    """Where the file holds the CRC of itself: the only word for which that is true."""
    for at in range(0, 64, 4):
        if struct.pack("<I", zlib.crc32(manifest[:at] + b"\0\0\0\0" + manifest[at + 4:])) == manifest[at:at + 4]:
            return at
    raise AssertionError("the compiled manifest has no checksum")


@scenario(arches=("x86_64",), cpus=(1,), timeout=180)
def bad_manifest(t):
    files, chance = sound_files(t.arch), random.Random(3)
    manifest = files["manifest.bin"]
    checksum_at = find_checksum(manifest)
    check_refused(t, cpio.archive({p: d for p, d in files.items() if p != "manifest.bin"}), "no manifest")
    for cut in (0, 1, 63, len(manifest) // 2, len(manifest) - 1):
        check_refused(t, cpio.archive({**files, "manifest.bin": manifest[:cut]}), f"manifest cut at {cut}")
    for _ in range(t.scaled(6, 200)):
        at = chance.randrange(len(manifest))
        damaged = patched(manifest, (at, "<B", manifest[at] ^ 1 << chance.randrange(8)))
        check_refused(t, cpio.archive({**files, "manifest.bin": damaged}), f"manifest with another byte {at}")
    # With a right checksum it is not damage but malice: anything but a hang or a panic of the kernel will do.
    for _ in range(t.scaled(15, 500)):
        damaged = bytearray(manifest)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        _, said, _ = boot_bytes(t, cpio.archive({**files, "manifest.bin": with_checksum(bytes(damaged), checksum_at)}))
        t.check("KERNEL PANIC" not in said or "init ended" in said, f"a panic: {said[-500:]}")


# -- programs of services -----------------------------------------------------------------------------------------------------

SERVICE = """
[[service]]
name = "{name}"
program = "bin/{name}"
memory = "512 KiB"
start = "manual"
restart = "never"
"""


def mutated(program, chance):
    """Another word in its headers, its dynamic section or its code."""
    out = bytearray(program)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(0, 512) & ~3 if chance.random() < 0.6 else chance.randrange(len(out) - 4) & ~3
        struct.pack_into("<I", out, at, chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, chance.randrange(1 << 32))))
    return bytes(out)


@scenario(cpus=(1, 4), timeout=180)
def bad_services(t):
    """Each bad program is refused with a reason; mutated ones are refused or run into their own end. The rest of the system runs."""
    files, chance = sound_files(t.arch), random.Random(4)
    victim = files["bin/entropyd"]
    bad = bad_programs(victim, chance)
    odd = [mutated(victim, chance) for _ in range(t.scaled(12, 20))]
    folder = t.folder
    manifest = (qemu.ROOT / "boot" / "system.toml").read_text()
    arguments = []
    for path, data in files.items():
        if path not in ("manifest.bin", "devices.tbl"):
            file = folder / path.replace("/", "-")
            file.write_bytes(data)
            arguments += ["--file", f"{path}={file}"]
    for number, data in enumerate([program for _, program in bad] + odd):
        manifest += SERVICE.format(name=f"odd-{number}")
        (folder / f"odd-{number}").write_bytes(data)
        arguments += ["--file", f"bin/odd-{number}={folder}/odd-{number}"]
    (folder / "bad.toml").write_text(manifest)
    path, said = t.image("--manifest", folder / "bad.toml", *arguments)
    t.check(path is not None, said)
    machine = t.boot(image=path)
    machine.http_ready("/", timeout=60)
    for number, (what, _) in enumerate(bad):
        answer = shell(machine, f"start odd-{number}", rf"^odd-{number}: (.+)$|odd-{number} started", 20)
        t.check("started" not in answer[0], f"a program was started that is wrong: {what}")
        machine.expect(rf"init: cannot start odd-{number}: [A-Z_]+ \(", 20)
    outcomes = []
    for number in range(len(bad), len(bad) + len(odd)):
        answer = shell(machine, f"start odd-{number}", rf"^odd-{number}: .+$|odd-{number} started", 20)
        outcomes.append("started" in answer[0])
    shell(machine, "echo still here", r"^still here$", 20)
    t.check("Tessera" in machine.http("/").text, "no page")
    t.check("PANIC" not in machine.serial, "a panic: see the serial log")
    t.note(f"{len(bad)} refused; of {len(odd)} mutated {sum(outcomes)} were started")
