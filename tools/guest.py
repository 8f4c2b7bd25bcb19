"""Boots a test program in init's place and reads its lines "TEST name ok|FAIL why" and "TESTS n passed m failed" (tests/guest)."""
import re

import qemu
from image import cpio


def boot(t, name, arguments="", **options):
    program = qemu.ROOT / "build" / t.arch / "boot" / name
    image = t.folder / f"{name}.img"
    image.write_bytes(cpio.archive({"bin/init": program.read_bytes()}))
    options = {"net": "none", "rng": False, "mem": "64M"} | options
    return t.boot(image=image, cmdline=arguments, **options)


def run(t, name, timeout, arguments="", **options):
    machine = boot(t, name, arguments, **options)
    end = machine.expect(r"TESTS (\d+) passed (\d+) failed", timeout=timeout)
    for line in re.finditer(r"TEST (\S+) (ok|FAIL)[ ]?(.*)$", machine.serial, re.M):
        t.case(f"{name}.{line[1]}", line[2] == "ok", line[3])
    failed = re.findall(r"TEST (\S+) FAIL (.*)$", machine.serial, re.M)
    t.check(end[2] == "0", f"{end[2]} failed; {failed[0][0]}: {failed[0][1]}" if failed else f"{end[2]} failed")
    t.check(int(end[1]) > 0, "no test was run")
    t.note(f"{end[1]} tests")
    code = machine.wait_exit(timeout=10)
    t.check(code == 0, f"QEMU ended with {code}")
    return machine


def find(machine, pattern):
    found = re.search(pattern, machine.serial)
    if not found:
        raise AssertionError(f"no \"{pattern}\" on the serial line")
    return found
