"""A Linux program in a cell of its own: make run EXEC=program ARGS="..." INPUT=file ROOTFS=dir|tar. EXEC is a file of this machine, or with ROOTFS a path in it. The boot image is made for the run (boot/linux.toml); what the
program writes comes out of a virtio console, byte for byte; how it ended is a line of posixd's in the console log."""
import os
import re
import shlex
import stat
import struct
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import qemu
from image import cpio

ROOT = qemu.ROOT
MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}  # e_machine, elf.h
RUN_MAGIC = b"LRUN"                                        # services/posixd/src/first.h
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "LANG": "C"}
ENDED = re.compile(r"program ended: code (\d+) status (-?\d+)")
EXITED = 1                                                 # POSIX_CHILD_EXITED
NOT_RUN = 125                                              # exit status when it was not the program that ended


@dataclass
class Entry:
    """A file of the root file system; data: of a link its target."""
    mode: int
    uid: int = 0
    gid: int = 0
    time: int = 0
    data: bytes = b""


@dataclass
class Request:
    program: bytes     # empty: the path is one in the root file system
    arguments: list    # the first is the path
    data: bytes        # standard input
    root: dict


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
    root = read_root(environment.get("ROOTFS"))
    try:
        arguments = shlex.split(environment.get("ARGS", ""))
    except ValueError as error:
        raise qemu.QemuError(f"ARGS: {error}") from None
    is_inside = path.strip("/") in root
    return Request(b"" if is_inside else read_program(path, arch), [path, *arguments], read_input(environment.get("INPUT")), root)


def read_root(path):
    """The files of a folder or of a tar archive: {path: Entry}."""
    root = {name: Entry(stat.S_IFDIR | mode) for name, mode in (("tmp", 0o1777), ("root", 0o700))}
    if not path:
        return root
    try:
        if Path(path).is_dir():
            for found in sorted(Path(path).rglob("*")):
                status = found.lstat()
                data = os.readlink(found).encode() if found.is_symlink() else found.read_bytes() if found.is_file() else b""
                root[str(found.relative_to(path))] = Entry(status.st_mode, 0, 0, int(status.st_mtime), data)
        else:
            root |= read_tar(path)
    except (OSError, tarfile.TarError) as error:
        raise qemu.QemuError(f"ROOTFS={path}: {getattr(error, 'strerror', None) or error}") from None
    return root


def read_tar(path):
    root = {}
    kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO}
    with tarfile.open(path) as archive:
        for member in archive:
            name = os.path.normpath(member.name).lstrip("/")
            if name.startswith("..") or name == "." or not (member.isreg() or member.islnk() or member.type in kinds):
                continue    # devices come from the system
            data = member.linkname.encode() if member.issym() else archive.extractfile(member).read() if member.isreg() or member.islnk() else b""
            root[name] = Entry(kinds.get(member.type, stat.S_IFREG) | member.mode, member.uid, member.gid, int(member.mtime), data)
    return root


def root_archive(root):
    """A CPIO archive ("newc", cpio(5)) whose files begin on pages, folders before what is in them."""
    out = bytearray()
    names = sorted(root)
    for inode, name in enumerate([*names, cpio.TRAILER], 1):
        entry = root[name] if name != cpio.TRAILER else Entry(0)
        encoded = name.encode() + b"\0"
        is_file = stat.S_ISREG(entry.mode) and entry.data
        encoded += bytes(-(len(out) + cpio.HEADER_BYTES + len(encoded)) % (cpio.PAGE if is_file else 4))
        fields = [inode, entry.mode, entry.uid, entry.gid, 1, max(entry.time, 0), len(entry.data), 0, 0, 0, 0, len(encoded), 0]
        out += b"070701" + b"".join(f"{value & 0xFFFFFFFF:08X}".encode() for value in fields) + encoded + entry.data + bytes(-len(entry.data) % 4)
    return bytes(out) + bytes(-len(out) % cpio.PAGE)


def run_file(path, arguments, variables, program, data, cpus):
    """services/posixd/src/first.h, struct run_header."""
    texts = [path, *arguments, *(f"{name}={value}" for name, value in variables.items())]
    strings = b"".join(text.encode() + b"\0" for text in texts)
    return RUN_MAGIC + struct.pack("<IIIIIQQQ", 1, len(arguments), len(variables), cpus, 0, len(program), len(data), len(strings)) + strings


def megabytes(text):
    return int(text[:-1]) * (1024 if text.endswith("G") else 1)


def make_image(options, folder, request):
    """The boot image with this program."""
    arch, arguments, size = options.arch, request.arguments, megabytes(options.mem)
    root = root_archive(request.root)
    # A quarter of the memory for files, the rest for programs, but what the system itself needs. The image is not among it.
    size -= 32 + (len(root) + len(request.program) + len(request.data) >> 20)
    if size < 64:
        raise qemu.QemuError(f"MEM={options.mem} is too little for this program and its files")
    manifest = (ROOT / "boot" / "linux.toml").read_text()
    manifest = manifest.replace('"64 MiB"', f'"{size // 4} MiB"').replace('"256 MiB"', f'"{size - size // 4} MiB"')
    (folder / "linux.toml").write_text(manifest)
    build = ROOT / "build" / arch
    parts = {"linux.bin": build / "personality" / "linux" / "linux.bin"}
    for service in ["init", *(Path(s["program"]).name for s in tomllib.loads(manifest)["service"])]:
        parts |= {f"bin/{service}": build / "boot" / service, f"bin/{service}.sym": build / "boot" / f"{service}.sym"}
    run = run_file(arguments[0], arguments, ENVIRONMENT, request.program, request.data, options.cpus)
    for name, content in (("program", request.program or b"\0"), ("input", request.data or b"\0"), ("run", run), ("root.cpio", root)):
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
    folder.mkdir(parents=True, exist_ok=True)
    console = folder / "console.log"
    console.unlink(missing_ok=True)
    image = make_image(options, folder, request)
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
