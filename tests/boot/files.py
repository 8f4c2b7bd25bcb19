"""tmpfsd on the real kernel: services/tmpfsd/test/files_test.c with an archive of its own."""
import qemu
from image import cpio
from scenario import scenario


@scenario(cpus=(1, 4), timeout=120)
def files(t):
    build = qemu.ROOT / "build" / t.arch / "boot"
    archive = t.folder / "files.cpio"
    archive.write_bytes(cpio.archive({"etc/motd": b"hello" + bytes(4995), "bin/tool": b"\x7fELF"}))
    arguments = ["--manifest", str(qemu.ROOT / "services/tmpfsd/test/files_test.toml"), "--file", f"files.cpio={archive}",
                 *(part for name in ("init", "tmpfsd", "files_test") for part in ("--file", f"bin/{name}={build}/{name}"))]
    path, said = t.image(*arguments)
    t.check(path is not None, said)
    machine = t.boot(image=path, net="none", rng=False)
    found = machine.expect(r"files_test: (\d+) checks, (\d+) failed", timeout=90)
    t.check(found[2] == "0" and int(found[1]) > 50, f"{found[2]} of {found[1]} checks failed: see the serial log")
