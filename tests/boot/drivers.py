"""Drivers on the real kernel: drivers/test/drivers_test.c with devmgr, the serial port, the network card and the random number
device, without the rest of the system. Frames go to QEMU's user network."""
import qemu
from scenario import scenario

PROGRAMS = ("init", "devmgr", "ns16550", "pl011", "virtio-net", "virtio-rng", "entropyd")


@scenario(cpus=(1, 4), timeout=120)
def drivers(t):
    build = qemu.ROOT / "build" / t.arch
    arguments = ["--manifest", str(qemu.ROOT / "drivers/test/drivers_test.toml"),
                 "--file", f"bin/drivers_test={build}/drivers/test/drivers_test"]
    for program in PROGRAMS:
        for name in (program, f"{program}.sym"):
            arguments += ["--file", f"bin/{name}={build}/boot/{name}"]
    path, said = t.image(*arguments)
    t.check(path is not None, said)
    machine = t.boot(image=path)
    times = machine.expect(r"one at a time (\d+) us, sixteen at a time (\d+) us", timeout=60)
    t.note(f"frame there and back: {times[1]} us alone, {times[2]} us with sixteen on their way")
    found = machine.expect(r"drivers_test: (\d+) checks, (\d+) failed", timeout=60)
    t.check(found[2] == "0" and int(found[1]) > 50, f"{found[2]} of {found[1]} checks failed: see the serial log")
