"""The Linux personality without services: init of an image of its own (tests/linux/personality/run.c) runs small static programs, each in a
process that is given the personality, an arena and its file. On x86_64 machines with Linux the programs run there first."""
import subprocess

import qemu
from image import cpio
from scenario import scenario

FOLDER = qemu.ROOT / "tests/linux/personality/programs"
FLAGS = {"x86_64": [], "aarch64": [], "riscv64": ["-march=rv64gc", "-mabi=lp64d"]}
# Program: exit status as wait gives it.
PROGRAMS = {"basic": 7 << 8, "signals": 15, "threads": 3 << 8, "timers": 2 << 8}


def compile_program(folder, arch, name):
    objects = []
    for source in ("program", name):
        objects.append(str(folder / f"{name}-{source}.o"))
        subprocess.run(["clang-19", f"--target={arch}-linux-gnu", *FLAGS[arch], "-std=c23", "-O2", "-ffreestanding", "-fno-stack-protector", "-fno-pic",
                        "-Wall", "-Wextra", "-Werror", "-I", str(qemu.ROOT / "build" / arch / "personality"), "-c", str(FOLDER / f"{source}.c"), "-o",
                        objects[-1]], check=True)
    program = folder / name
    subprocess.run(["ld.lld-19", "-static", "-z", "noexecstack", "-o", str(program), *objects], check=True)
    return program


def image(folder, arch, programs):
    build = qemu.ROOT / "build" / arch
    files = {"bin/init": (build / "boot/linux_run").read_bytes(),
             "personality/linux": (build / "personality/linux/linux.bin").read_bytes()}
    files |= {f"linux/{name}": path.read_bytes() for name, path in programs.items()}
    path = folder / "linux.img"
    path.write_bytes(cpio.archive(files))
    return path


@scenario(cpus=(1, 4), timeout=90)
def linux_personality(t):
    programs = {name: compile_program(t.folder, t.arch, name) for name in PROGRAMS}
    machine = t.boot(image=image(t.folder, t.arch, programs), net="none", rng=False)
    machine.expect(r"linux: all done", timeout=60)
    for name, status in PROGRAMS.items():
        t.check(f"linux {name}: cause 0, status {status}" in machine.serial, f"{name}: see the serial log")


@scenario(cpus=(1, 4), timeout=90)
def linux_exec(t):
    """exec with files: tests/linux/personality/programs/exec.c, which runs itself again through a script (the system of linux_files.py)."""
    program = compile_program(t.folder, t.arch, "exec").read_bytes()
    archive = t.folder / "root.cpio"
    archive.write_bytes(cpio.archive({"bin/program": program, "bin/exec": program, "bin/script": b"#! /bin/exec  one two \nhello\n", "bin/data": b"0123456789"},
                                     mode=cpio.MODE_PROGRAM))
    build = qemu.ROOT / "build" / t.arch
    path, said = t.image("--manifest", str(qemu.ROOT / "tests/linux/files/linux_files.toml"), "--file", f"root.cpio={archive}",
                         "--file", f"personality={build}/personality/linux/linux.bin",
                         *(part for name in ("init", "tmpfsd", "linux_files") for part in ("--file", f"bin/{name}={build}/boot/{name}")))
    t.check(path is not None, said)
    machine = t.boot(image=path, net="none", rng=False)
    end = machine.expect(r"program: cause (\d+), status (-?\d+)|init: .* crashed.*", timeout=60)
    t.check(end[1] == "0" and end[2] == "0" and "linux: exec" in machine.serial, f"{end[0]}: see the serial log")
