"""What a file in tests/boot/ sees: the decorator `scenario` and class Test. See tests/README.md.

    from scenario import scenario

    @scenario(cpus=(1, 4))
    def page(t):
        machine = t.boot()
        t.check("Tessera" in machine.http_ready("/").text, "no title")
"""
import dataclasses
import os
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import qemu

SCENARIOS = []
IS_SOAK = os.environ.get("SOAK", "0") not in ("", "0")


class Skip(Exception):
    """This scenario cannot be run here; the text says why."""


@dataclass
class Scenario:
    name: str
    function: object
    arches: tuple
    cpus: tuple
    timeout: int
    is_alone: bool


def scenario(arches=qemu.ARCHES, cpus=(1, 4), timeout=120, alone=False):
    """Registers a function as a scenario for each architecture and number of CPUs. timeout: seconds for all of it. alone: no
    other QEMU runs meanwhile (for what measures time)."""
    def register(function):
        file = Path(function.__code__.co_filename).stem
        name = function.__name__ if function.__name__ == file else f"{file}.{function.__name__}"
        SCENARIOS.append(Scenario(name, function, tuple(arches), tuple(cpus), timeout, alone))
        return function
    return register


class Test:
    """One run of a scenario: where it keeps its files, the machines it started, and the figures it found."""

    def __init__(self, arch, cpus, log_folder):
        self.arch, self.cpus, self.log_folder = arch, cpus, log_folder
        self.machines, self.notes, self.cases = [], [], []
        self.temporary = tempfile.TemporaryDirectory(prefix="tessera-test-")
        self.folder = Path(self.temporary.name)
        self.lock = threading.Lock()
        self.is_over = False

    # -- starting things -----------------------------------------------------------------------------------------------------

    def options(self, **changes):
        """The default options of this run with changes, as of qemu.Options."""
        return dataclasses.replace(qemu.Options(arch=self.arch, cpus=self.cpus, http_port=0), **changes)

    def boot(self, **changes):
        """A started machine; ended when the scenario ends."""
        with self.lock:
            if self.is_over:
                raise AssertionError("the scenario's time is over")
            log = self.log_folder / f"serial{len(self.machines) or ''}.log"
            machine = qemu.Machine(self.options(**changes), log)
            self.machines.append(machine)
        return machine.start()

    def image(self, *arguments):
        """A boot image made by tools/mkimage with these arguments; gives (path or None, what mkimage said)."""
        out = self.folder / "boot.img"
        folder = qemu.ROOT / "build" / self.arch
        done = subprocess.run([str(qemu.ROOT / "tools" / "mkimage"), "--arch", self.arch, "--schema",
                               str(folder / "abi" / "manifest-schema.json"), "--out", str(out), *map(str, arguments)],
                              capture_output=True, text=True)
        return (out if done.returncode == 0 else None), done.stderr.strip()

    # -- saying what was found ------------------------------------------------------------------------------------------------

    def check(self, condition, what):
        if not condition:
            raise AssertionError(what)

    def note(self, text):
        """A figure for the summary."""
        self.notes.append(str(text))

    def case(self, name, is_passed, text=""):
        """One of several results of a scenario that runs many tests inside the system: a test case of its own in the report."""
        self.cases.append((name, is_passed, text))

    def scaled(self, quick, full):
        """The count for `make test`, and that for `make soak`."""
        return full if IS_SOAK else quick

    def skip(self, why):
        raise Skip(why)

    def close(self):
        with self.lock:
            self.is_over = True
        for machine in self.machines:
            machine.stop()
        self.temporary.cleanup()

    def panics(self):
        """The first line of a kernel panic, if any machine had one."""
        for machine in self.machines:
            found = re.search(r"^.*\bpanic\b.*$", machine.serial, re.M | re.I)
            if found:
                return found[0]
        return None
