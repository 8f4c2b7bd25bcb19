"""Files as Linux programs see them: tests/linux/files/program.c with the personality and tmpfsd; on x86_64 machines it runs on Linux first."""
import platform
import subprocess
import tempfile

import qemu
from image import cpio
from scenario import scenario

FOLDER = qemu.ROOT / "tests/linux/files"
FLAGS = {"x86_64": [], "aarch64": [], "riscv64": ["-march=rv64gc", "-mabi=lp64d"]}


def compile_program(folder, arch):
    generated = qemu.ROOT / "build" / arch / "personality"
    subprocess.run(["clang-19", f"--target={arch}-linux-gnu", *FLAGS[arch], "-std=c23", "-O2", "-ffreestanding", "-fno-stack-protector", "-fno-pic",
                    "-Wall", "-Wextra", "-Werror", "-I", str(generated), "-c", str(FOLDER / "program.c"), "-o", str(folder / "program.o")], check=True)
    subprocess.run(["ld.lld-19", "-static", "-z", "noexecstack", "-o", str(folder / "program"), str(folder / "program.o")], check=True)
    return folder / "program"


@scenario(cpus=(1, 4), timeout=90)
def linux_files(t):
    program = compile_program(t.folder, t.arch)
    if platform.machine() == t.arch and platform.system() == "Linux":
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            done = subprocess.run([str(program)], cwd=place, capture_output=True, text=True, timeout=60)
            t.check(done.returncode == 0, f"on Linux: {done.stdout}")
    archive = t.folder / "root.cpio"
    archive.write_bytes(cpio.archive({"bin/program": program.read_bytes()}, mode=cpio.MODE_PROGRAM))
    build = qemu.ROOT / "build" / t.arch
    arguments = ["--manifest", str(FOLDER / "linux_files.toml"), "--file", f"root.cpio={archive}",
                 "--file", f"personality={build}/personality/linux/linux.bin",
                 *(part for name in ("init", "tmpfsd", "linux_files") for part in ("--file", f"bin/{name}={build}/boot/{name}"))]
    path, said = t.image(*arguments)
    t.check(path is not None, said)
    machine = t.boot(image=path, net="none", rng=False)
    end = machine.expect(r"program: cause (\d+), status (-?\d+)|init: .* crashed.*", timeout=60)
    t.check(end[1] == "0" and end[2] == "0" and machine.serial.count(" 0 failed") == 2, f"{end[0]}: see the serial log")
