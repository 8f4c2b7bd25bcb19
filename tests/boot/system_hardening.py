"""What the CPUs forbid the kernel itself, seen from outside: QEMU's monitor shows control registers and every translation there is."""
import re

from scenario import scenario

# Bits that must be set: AMD64 manual volume 2, 3.1; Intel SDM volume 3, 2.5.
X86_SET = {"CR0": {16: "WP"}, "CR4": {11: "UMIP", 20: "SMEP", 21: "SMAP"}, "EFER": {11: "NXE"}}
# Bits of mstatus that must be clear: RISC-V Privileged 3.1.6.
RISCV_CLEAR = {18: "SUM", 19: "MXR"}
X86_PAGE = re.compile(r"^([0-9a-f]{16}): [0-9a-f]{16} (\S{9})\s*$", re.M)
RISCV_PAGES = re.compile(r"^([0-9a-f]{16}) [0-9a-f]{16} [0-9a-f]{16} ([rwxugad-]{7})\s*$", re.M)
KERNEL_HALF = 1 << 63


def translations(t, machine):
    """[(address, may write, may execute, is user's)] of the address space that the monitor's CPU is in."""
    if t.arch == "x86_64":
        found = [(int(address, 16), "W" in flags, "X" not in flags, "U" in flags) for address, flags in X86_PAGE.findall(machine.monitor("info tlb"))]
    else:
        found = [(int(address, 16), "w" in flags, "x" in flags, "u" in flags) for address, flags in RISCV_PAGES.findall(machine.monitor("info mem"))]
    t.check(any(page[2] for page in found), "no executable page: the monitor's text was not understood")
    return found


def check_registers(t, text, cpus):
    wanted = [(name, bit, what, 1) for name, bits in X86_SET.items() for bit, what in bits.items()] if t.arch == "x86_64" else \
        [("mstatus", bit, what, 0) for bit, what in RISCV_CLEAR.items()]
    for name, bit, what, value in wanted:
        found = [int(number, 16) for number in re.findall(rf"\b{name}\s*=?\s*([0-9a-f]{{8,16}})\b", text)]
        t.check(len(found) == cpus, f"{name} of {len(found)} CPUs instead of {cpus}")
        t.check(all(number >> bit & 1 == value for number in found), f"{what} is not {value} everywhere: {found}")


@scenario(arches=("x86_64", "riscv64"), cpus=(1, 4), timeout=60)
def hardening(t):
    """No page can be written and executed, none of the kernel's is the user's, and the kernel has closed user memory to itself."""
    machine = t.boot(mem="64M")
    machine.http_ready("/", timeout=30)
    pages = 0
    for _ in range(5):  # other programs run each time
        machine.http("/status.json")
        machine.qmp("stop")
        check_registers(t, machine.monitor("info registers -a"), t.cpus)
        for address, may_write, may_execute, is_user in translations(t, machine):
            t.check(not (may_write and may_execute), f"{address:#x} can be written and executed")
            t.check(is_user == (address < KERNEL_HALF), f"{address:#x} is {'not ' if not is_user else ''}the user's")
            pages += 1
        machine.qmp("cont")
    t.note(f"{pages} translations")
