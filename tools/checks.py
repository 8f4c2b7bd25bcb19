"""Checks of what was built for one architecture. Each gives None, or what is wrong."""
import struct
import subprocess

KERNEL_LIMIT = 300 << 10
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
WRITE, EXECUTE = 2, 1


def undefined_symbols(archive):
    """(undefined, defined) names of all objects of a static library."""
    text = subprocess.run(["llvm-nm-19", str(archive)], check=True, capture_output=True, text=True).stdout
    undefined, defined = set(), set()
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[0] in ("U", "w"):
            undefined.add(parts[1])
        elif len(parts) == 3 and parts[1] not in ("U", "w"):
            defined.add(parts[2])
    return undefined, defined


def check_tiers(folder):
    """core needs nothing but the compiler's stack guard, alloc only core (architecture, section 13)."""
    core = folder / "lib/core/libcore.a"
    undefined, core_defined = undefined_symbols(core)
    core_defined |= {"__stack_chk_guard", "__stack_chk_fail"}
    problems = [f"core needs {name}" for name in sorted(undefined - core_defined)]
    alloc = folder / "lib/alloc/liballoc.a"
    if not alloc.exists():
        return "lib/alloc was not built"
    undefined, defined = undefined_symbols(alloc)
    problems += [f"alloc needs {name}, which is not core's" for name in sorted(undefined - defined - core_defined)]
    return "\n".join(problems) or None


def program_headers(data):
    """[(type, flags, offset, address, file size, memory size)] of a 64-bit ELF file."""
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    return [(t, flags, o, va, fs, ms) for t, flags, o, va, _, fs, ms, _ in
            (struct.unpack_from("<IIQQQQQQ", data, offset + i * size) for i in range(count))]


def check_programs(folder):
    """Every program is position independent, asks for no loader, and has no segment that is writable and executable."""
    problems = []
    programs = [p.with_suffix("") for p in sorted(folder.glob("boot/*.debug")) if p.stem != "kernel"]
    for path in programs:
        data = path.read_bytes()
        headers = program_headers(data)
        if struct.unpack_from("<H", data, 16)[0] != 3:
            problems.append(f"{path.name}: not position independent")
        if any(h[0] == PT_INTERP for h in headers):
            problems.append(f"{path.name}: asks for a loader")
        for kind, flags, offset, address, *_ in headers:
            if kind == PT_LOAD and flags & WRITE and flags & EXECUTE:
                problems.append(f"{path.name}: a segment is writable and executable")
            if kind == PT_LOAD and offset % 4096 != address % 4096:
                problems.append(f"{path.name}: a segment cannot be mapped from the file")
    return "\n".join(problems) or (None if programs else "no program was built")


def check_kernel_size(folder):
    size = (folder / "boot/kernel.bin").stat().st_size
    return None if size <= KERNEL_LIMIT else f"kernel.bin has {size} bytes, more than {KERNEL_LIMIT}"


BUILT = {"library tiers": check_tiers, "programs": check_programs, "kernel size": check_kernel_size}
