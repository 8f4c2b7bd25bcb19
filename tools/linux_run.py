"""A Linux program in a cell of its own: make run EXEC=program ARGS="..." INPUT=file. The boot image is made for the run (boot/linux.toml); what the
program writes comes out of a virtio console, byte for byte; how it ended is a line of posixd's in the console log."""
import os
import re
import shlex
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import qemu

ROOT = qemu.ROOT
MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}  # e_machine, elf.h
RUN_MAGIC = b"LRUN"                                        # services/posixd/src/first.h
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "LANG": "C"}
ENDED = re.compile(r"program ended: code (\d+) status (-?\d+)")
EXITED = 1                                                 # POSIX_CHILD_EXITED
NOT_RUN = 125                                              # exit status when it was not the program that ended


def read_program(path, arch):
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise qemu.QemuError(f"EXEC={path}: {error.strerror.lower()}") from None
    if data[:4] != b"\x7fELF" or len(data) < 64:
        raise qemu.QemuError(f"EXEC={path}: is not an ELF program")
    machine = MACHINES.get(struct.unpack_from("<H", data, 18)[0])
    if data[4] != 2 or machine is None:
        raise qemu.QemuError(f"EXEC={path}: is a program for another kind of machine")
    if machine != arch:
        raise qemu.QemuError(f"EXEC={path}: is a program for {machine}; run it with ARCH={machine}")
    return data


def read_input(path):
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise qemu.QemuError(f"INPUT={path}: {error.strerror.lower()}") from None


def check(arch, environment=os.environ):
    """What can be wrong with the request, before anything is built: (program, arguments, input)."""
    path = environment["EXEC"]
    if environment.get("ROOTFS"):
        if not Path(environment["ROOTFS"]).exists():
            raise qemu.QemuError(f"ROOTFS={environment['ROOTFS']}: no such file or directory")
        raise qemu.QemuError("ROOTFS: programs have no files yet")
    try:
        arguments = shlex.split(environment.get("ARGS", ""))
    except ValueError as error:
        raise qemu.QemuError(f"ARGS: {error}") from None
    return read_program(path, arch), [path, *arguments], read_input(environment.get("INPUT"))


def run_file(path, arguments, variables, program, data):
    """services/posixd/src/first.h, struct run_header."""
    texts = [path, *arguments, *(f"{name}={value}" for name, value in variables.items())]
    strings = b"".join(text.encode() + b"\0" for text in texts)
    return RUN_MAGIC + struct.pack("<IIIQQQ", 1, len(arguments), len(variables), len(program), len(data), len(strings)) + strings


def megabytes(text):
    return int(text[:-1]) * (1024 if text.endswith("G") else 1)


def make_image(arch, folder, mem, program, arguments, data):
    """The boot image with this program."""
    manifest = (ROOT / "boot" / "linux.toml").read_text()
    # All of the memory but what the system itself needs.
    manifest = manifest.replace('"256 MiB"', f'"{max(megabytes(mem) - 64, megabytes(mem) // 2)} MiB"')
    (folder / "linux.toml").write_text(manifest)
    build = ROOT / "build" / arch
    parts = {"linux.bin": build / "personality" / "linux" / "linux.bin"}
    for service in ["init", *(Path(s["program"]).name for s in tomllib.loads(manifest)["service"])]:
        parts |= {f"bin/{service}": build / "boot" / service, f"bin/{service}.sym": build / "boot" / f"{service}.sym"}
    for name, content in (("program", program), ("input", data or b"\0"), ("run", run_file(arguments[0], arguments, ENVIRONMENT, program, data))):
        parts[name] = folder / name
        parts[name].write_bytes(content)
    image = folder / f"linux-{arch}.img"
    command = [sys.executable, "-B", str(ROOT / "tools" / "mkimage"), "--manifest", str(folder / "linux.toml"), "--schema",
               str(build / "abi" / "gen" / "manifest-schema.json"), "--arch", arch, "--out", str(image)]
    for name, source in parts.items():
        command += ["--file", f"{name}={source}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return image


def command(options, image, console):
    """QEMU's, with the program's output on its standard output."""
    options.image = image
    options.net, options.rng = "none", False
    options.extra = ["-monitor", "none", "-serial", f"file:{console}", "-chardev", "stdio,id=program,signal=off", "-device",
                     "virtio-serial-pci,disable-legacy=on,max_ports=1", "-device", "virtconsole,chardev=program"]
    return qemu.command(options)


def status_of(console):
    """The exit status that stands for how the program ended; None when it did not."""
    found = ENDED.findall(console.read_text(errors="replace"))
    if not found:
        return None
    code, status = int(found[-1][0]), int(found[-1][1])
    return status & 255 if code == EXITED else 128 + (status & 127)


def run(options, request, folder=ROOT / "build" / "run", timeout=None, stdout=None):
    """Boots and waits; the exit status. Standard output is the program's."""
    program, arguments, data = request
    folder.mkdir(parents=True, exist_ok=True)
    console = folder / "console.log"
    console.unlink(missing_ok=True)
    image = make_image(options.arch, folder, options.mem, program, arguments, data)
    process = subprocess.Popen(command(options, image, console), stdin=subprocess.DEVNULL, stdout=stdout)
    try:
        process.wait(timeout)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 130
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    status = status_of(console) if console.exists() else None
    if status is None:
        lines = console.read_text(errors="replace").splitlines()[-15:] if console.exists() else []
        print("run: the program did not come to its end; the console's last lines:", *("    " + line for line in lines), sep="\n",
              file=sys.stderr)
        return NOT_RUN
    return status
