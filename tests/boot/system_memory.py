"""How little RAM is enough: the page in 32 MiB; and what is said when there is less than the system needs."""
import re

from scenario import scenario
from system_facts import SERVICES, facts_when, is_complete


@scenario(cpus=(1, 4), timeout=60)
def small(t):
    machine = t.boot(mem="32M")
    machine.http_ready("/", timeout=45)
    found = facts_when(machine, is_complete, 30, "facts")
    t.check(len(found["services"]) == len(SERVICES) and all(s["state"] == "running" for s in found["services"]),
            f"services {found['services']}")
    used = found["memory"]["ram_bytes"] - found["memory"]["free_bytes"]
    t.note(f"{used >> 10} KiB of {found['memory']['ram_bytes'] >> 10} KiB used")


# The smallest are what QEMU can still put the kernel and the boot image into.
TIGHT = {"x86_64": ("16M", "8M", "4M"), "aarch64": ("16M", "8M", "6M"), "riscv64": ("16M", "6M")}


@scenario(cpus=(1, 4), timeout=60)
def tight(t):
    """Too little for everything: each service that finds no memory is named, what fits runs, nothing hangs or panics."""
    for size in TIGHT[t.arch]:
        machine = t.boot(mem=size, http_port=None)
        end = machine.expect(r"init: (?:(\d+) of \d+|\d+) services started|KERNEL PANIC: (.*)", 30)
        t.check(end[2] is None or "not enough memory" in end[2], f"{size}: {end[0]}")
        refused = re.findall(r"cannot start (\S+): not enough memory: \d+ KiB wanted, \d+ KiB left", machine.serial)
        t.check(end[1] is None or len(refused) == len(SERVICES) - int(end[1]), f"{size}: {end[0]}, refused {refused}")
        t.check(size != "4M" or refused, f"{size} is enough?")
        t.note(f"{size}: {end[1] or 'all' if end[2] is None else 'no'} services")
        if not {"tsh", "serial", "devmgr"} & set(refused) and end[2] is None:
            machine.expect(r"^tsh> ", 30)
            machine.send("echo still here\n")
            machine.expect(r"^still here$", 30)
        machine.stop()
