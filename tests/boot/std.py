"""lib/std on the real kernel: lib/std/test/std_test.c boots in init's place, checks, and switches the machine off."""
import qemu
from image import cpio
from scenario import scenario


@scenario(cpus=(1, 4), timeout=90)
def std(t):
    program = qemu.ROOT / "build" / t.arch / "lib/std/std_test"
    image = t.folder / "std.img"
    image.write_bytes(cpio.archive({"bin/init": program.read_bytes()}))
    machine = t.boot(image=image, net="none", rng=False)
    found = machine.expect(r"std_test: (\d+) checks, (\d+) failed", timeout=60)
    t.check(found[2] == "0" and int(found[1]) > 100, f"{found[2]} of {found[1]} checks failed: see the serial log")
