"""Linux programs in a cell (make run EXEC=...): those of tests/linux/cell run on Debian's Linux in the same QEMU first (its answer is kept under build/, by
checksums of program, input and kernel), then here, and must write the same bytes and end in the same way."""
import hashlib
import json
import os
import re
import subprocess
from importlib.machinery import SourceFileLoader

import linux_run
import qemu
from image import cpio
from scenario import scenario

FOLDER = qemu.ROOT / "tests/linux/cell"
PROGRAMS = qemu.ROOT / "tests/linux/personality/programs"
FLAGS = {"x86_64": [], "aarch64": [], "riscv64": ["-march=rv64gc", "-mabi=lp64d"]}
CONSOLE = {"x86_64": "ttyS0", "aarch64": "ttyAMA0", "riscv64": "ttyS0"}
INPUT = bytes(i * i % 256 for i in range(100_000))
# Name: arguments, standard input.
CASES = {"pipes": ([], b""), "bytes": (["one", "two"], INPUT)}


def compile_program(folder, arch, source):
    objects = []
    for path in (PROGRAMS / "program.c", source):
        objects.append(str(folder / f"{path.stem}.o"))
        subprocess.run(["clang-19", f"--target={arch}-linux-gnu", *FLAGS[arch], "-std=c23", "-O2", "-ffreestanding", "-fno-stack-protector", "-fno-pic",
                        "-Wall", "-Wextra", "-Werror", "-I", str(PROGRAMS), "-I", str(qemu.ROOT / "build" / arch / "personality"), "-c", str(path), "-o",
                        objects[-1]], check=True)
    program = folder / source.stem
    subprocess.run(["ld.lld-19", "-static", "-z", "noexecstack", "-o", str(program), *objects], check=True)
    return program.read_bytes()


def linux_kernel(arch):
    """Debian's, fetched when it is not there yet; None where it cannot be had."""
    try:
        SourceFileLoader("fetch", str(qemu.ROOT / "tools" / "fetch")).load_module().fetch([f"linux-{arch}"])
    except (Exception, SystemExit):     # no network, no such package
        return None
    return next((qemu.ROOT / "build" / "src" / f"linux-{arch}").iterdir())


def on_linux(t, init, name, program, arguments, data):
    """(what it wrote, wait's status), or None without a kernel."""
    kernel = linux_kernel(t.arch)
    if kernel is None:
        return None
    key = hashlib.sha256(b"|".join([kernel.name.encode(), hashlib.sha256(init).digest(), hashlib.sha256(program).digest(), data, repr(arguments).encode()]))
    kept = qemu.ROOT / "build" / "linux-answers" / f"{t.arch}-{name}-{key.hexdigest()[:16]}"
    if not kept.exists():
        image, serial = t.folder / "linux.img", t.folder / "linux.serial"
        image.write_bytes(cpio.archive({"init": init, "program": program, "input": data}, align=4, mode=cpio.MODE_PROGRAM))
        options = qemu.Options(arch=t.arch, mem="512M", net="none", rng=False, kernel=kernel, image=image, cmdline=(
            f"console={CONSOLE[t.arch]} quiet loglevel=0 mitigations=off panic=-1 -- {' '.join(arguments)}"))
        command = [part.removesuffix(" exit=semihosting") for part in qemu.command(options)]    # what only our kernel knows
        subprocess.run(command + ["-serial", f"file:{serial}", "-monitor", "none"], stdin=subprocess.DEVNULL, timeout=120 * qemu.TEST_SCALE)
        found = re.search(rb"<begin>\n(.*)<end (-?\d+)>\n", serial.read_bytes(), re.S)
        t.check(found, f"{name}: no answer from Linux: {serial.read_bytes()[-300:]}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}-{t.cpus}")
        part.write_bytes(json.dumps(int(found[2])).encode() + b"\n" + found[1])
        os.replace(part, kept)      # whole or not at all: another test may look for it just now
    status, wrote = kept.read_bytes().split(b"\n", 1)
    return wrote, int(status)


def exit_status(status):
    """A shell's for wait's."""
    return 128 + (status & 127) if status & 127 else status >> 8 & 255


def here(t, name, request):
    """(what it wrote, exit status)."""
    folder = t.folder / f"{name}.run"
    folder.mkdir()
    with open(folder / "out", "wb") as out:
        status = linux_run.run(t.options(mem="512M", http_port=None), request, folder, timeout=90 * qemu.TEST_SCALE, stdout=out)
    console = folder / "console.log"
    t.log_folder.mkdir(parents=True, exist_ok=True)
    (t.log_folder / f"{name}.log").write_bytes(console.read_bytes() if console.exists() else b"")
    return (folder / "out").read_bytes(), status


@scenario(cpus=(1, 4), timeout=400)
def linux_cell(t):
    init = compile_program(t.folder, t.arch, FOLDER / "init/init.c")
    for name, (arguments, data) in CASES.items():
        program = compile_program(t.folder, t.arch, FOLDER / f"{name}.c")
        theirs = on_linux(t, init, name, program, arguments, data)
        wrote, status = here(t, name, linux_run.Request(program, [name, *arguments], data, linux_run.read_root(None)))
        t.check(b"failed" not in wrote, f"{name}: {wrote[-300:]}")
        t.check(theirs is None or (wrote, status) == (theirs[0], exit_status(theirs[1])),
                f"{name}: not as on Linux: status {status}, {len(wrote)} bytes; there {theirs and (exit_status(theirs[1]), len(theirs[0]))}")
        t.note(f"{name}: {len(wrote)} bytes, status {status}{', as on Linux' if theirs else ', not compared: no Linux kernel to be had'}")
