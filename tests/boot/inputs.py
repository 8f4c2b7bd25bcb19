"""Bad inputs at boot: each ends with a clear message and no hang."""
import random
import struct

import qemu
from image import cpio
from scenario import scenario


def boot_until_end(t, pattern, **options):
    """Boots; the pattern must come and QEMU must end by itself."""
    machine = t.boot(net="none", rng=False, **options)
    match = machine.expect(pattern, timeout=15)
    machine.wait_exit(timeout=10)
    return match[0]


@scenario(cpus=(1,))
def no_image(t):
    boot_until_end(t, r"no boot image was given", image="none")


@scenario(cpus=(1,))
def little_memory(t):
    """16 MiB: init names the service that finds no room, and the shell still answers: not a hang, not a panic."""
    machine = t.boot(mem="16M")
    t.note(machine.expect(r"init: cannot start (\S+): not enough memory", timeout=15)[1])
    machine.expect(r"tsh>")
    machine.send("mem\r")
    machine.expect(r"(?i)free")
    t.check(not t.panics(), "a panic")


@scenario(cpus=(1,))
def tiny_memory(t):
    """Below: the same message or the kernel's own with an end, unless QEMU refuses what its firmware or the image does not fit in."""
    for mem in ("12M", "8M", "6M", "5M", "4M"):
        machine = t.boot(mem=mem)
        try:
            what = machine.expect(r"init: cannot start (\S+): not enough memory|PANIC: (not enough memory.*)", timeout=15)
        except qemu.ExpectError:
            t.check(not machine.is_running() and "Tessera" not in machine.serial, f"{mem}: no message")
            t.note(f"{mem}: refused by QEMU")
            continue
        if what[2]:
            machine.wait_exit()
        t.note(f"{mem}: {what[1] or what[2]}")
        t.check(what[2] or not t.panics(), f"{mem}: another panic")
        machine.stop()


@scenario(cpus=(1,))
def first_process_ends(t):
    """A program in init's place that ends: the system says so and ends too."""
    image = t.folder / "ends.img"
    image.write_bytes(cpio.archive({"bin/init": (t.options().build_folder() / "entropyd").read_bytes()}))
    boot_until_end(t, r"PANIC: the first process (ended: cause \d+, status -?\d+|crashed: .*)$", image=image)


@scenario(cpus=(1,), timeout=300)
def cut_image(t):
    """The image cut off at places all over it."""
    whole = (t.options().build_folder() / "boot.img").read_bytes()
    chosen = random.Random(t.arch)
    places = [1, 6, 110, 4096] + [chosen.randrange(len(whole) - 4096) for _ in range(t.scaled(4, 60))]
    for place in places:
        path = t.folder / "cut.img"
        path.write_bytes(whole[:place])
        message = boot_until_end(t, r"(?i)^.*(boot image|manifest|init).*$", image=path)
        t.check(message, "no message")


@scenario(cpus=(1,), timeout=300)
def bad_init(t):
    """init itself is damaged: cut off, or with program headers that lie."""
    from image import cpio
    whole = {n: d for n, (_, d) in cpio.read((t.options().build_folder() / "boot.img").read_bytes()).items()}
    init = whole["bin/init"]
    bad = {"empty": b"", "text": b"#!/bin/sh\n" * 10, "cut": init[:len(init) // 2], "cut header": init[:60],
           "wrong machine": init[:18] + struct.pack("<H", 3) + init[20:],
           "entry outside": init[:24] + struct.pack("<Q", 1 << 40) + init[32:],
           "headers outside": init[:32] + struct.pack("<Q", 1 << 62) + init[40:],
           "many headers": init[:56] + struct.pack("<H", 0xFFFF) + init[58:]}
    offset = struct.unpack_from("<Q", init, 32)[0]
    for name, field, value in (("file size", 32, 1 << 63), ("memory size", 40, 1 << 60), ("address", 16, 0xFFFFFFFF80000000)):
        place = offset + 56 + field   # of the second header
        bad[name] = init[:place] + struct.pack("<Q", value) + init[place + 8:]
    for name, data in bad.items():
        path = t.folder / "bad.img"
        path.write_bytes(cpio.archive(dict(whole, **{"bin/init": data})))
        boot_until_end(t, r"PANIC: .*", image=path)


@scenario(cpus=(1,))
def no_card(t):
    """No network card: everything else works, and it is said."""
    machine = t.boot(net="none")
    machine.expect(r"tsh>")
    machine.send("\r")
    machine.expect(r"tsh>")
    machine.refuse(r"PANIC", 1)
    t.check(machine.is_running(), "QEMU ended")


@scenario(cpus=(1,))
def manifest_errors(t):
    """mkimage names file, line and key."""
    manifest = (qemu.ROOT / "boot" / "system.toml").read_text()
    path = t.folder / "system.toml"
    for old, new, words in (("restart = ", "restrat = ", "unknown key"), ('name = "httpd"', 'name = "netd"', "duplicate service"),
                            ('"bin/httpd"', '"bin/htpd"', "not in the boot image")):
        path.write_text(manifest.replace(old, new, 1))
        image, message = t.image("--manifest", path, *(f"--file={p}={path}" for p in (
            "bin/devmgr", "bin/ns16550", "bin/pl011", "bin/virtio-net", "bin/virtio-rng", "bin/entropyd", "bin/netd", "bin/httpd",
            "bin/tsh", "www")))
        t.check(image is None and words in message and "system.toml:" in message, f"mkimage said: {message}")


@scenario()
def shutdown(t):
    """The shell's shutdown ends QEMU with code 0."""
    machine = t.boot()
    machine.expect(r"tsh>")
    machine.send("shutdown\r")
    t.check(machine.wait_exit() == 0, "exit code")


@scenario(cpus=(1,))
def small(t):
    """The whole system up to the page fits in 32 MiB."""
    machine = t.boot(mem="32M")
    machine.http_ready("/")
    machine.expect(r"memory: .*")
