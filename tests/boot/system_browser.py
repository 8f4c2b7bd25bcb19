"""A real browser draws the page, and the page keeps itself up to date."""
import re
import shutil
import subprocess

import qemu
from scenario import scenario

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1200,1500",
         "--virtual-time-budget=4000")


def browse(t, browser, machine, *arguments):
    done = subprocess.run([browser, *FLAGS, f"--user-data-dir={t.folder / 'profile'}", *arguments,
                           f"http://127.0.0.1:{machine.options.http_port}/"], capture_output=True, text=True,
                          timeout=60 * qemu.TEST_SCALE)
    t.check(done.returncode == 0, f"{browser}: exit code {done.returncode}: {done.stderr[-300:]}")
    return done.stdout


@scenario(arches=("x86_64",), cpus=(4,), timeout=150)
def browser(t):
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        t.skip("chromium is not installed")
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    text = browse(t, found, machine, "--dump-dom")
    t.check(re.search(r'id="live">live<', text), "the page's script did not run: " + text[:500])
    for word in ("Processors", "Services", "Network", "virtio-net", "10.0.2.15"):
        t.check(word in text, f"no {word} in the page as drawn")
    picture = t.log_folder / "page.png"
    browse(t, found, machine, f"--screenshot={picture}")
    data = picture.read_bytes() if picture.exists() else b""
    t.check(data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 20_000, f"a picture of {len(data)} bytes")
    t.note(f"picture: {picture.relative_to(qemu.ROOT)}")
