"""A hostile service in the full system: it gets errors or dies alone. Afterwards the page is served, no other service was started
again, and memory and objects are as before."""
import json
import re
import time

import qemu
from scenario import scenario

SERVICE = """
[[service]]
name = "intruder"
program = "bin/intruder"
memory = "12 MiB"
slots = 256
start = "manual"
restart = "never"
after = ["httpd"]
args = ["{calls}", "{seed}"]
[service.handles]
http = {{ from = "httpd:http", rights = ["observe", "copy"] }}
log = {{ from = "kernel:log", rights = ["append", "copy"] }}
"""
PROGRAMS = ("init", "devmgr", "ns16550", "pl011", "virtio-net", "virtio-rng", "entropyd", "netd", "httpd", "tsh", "intruder")
LOG_BYTES = 100_000
SEED = 20260101


def image(t, calls):
    folder = qemu.ROOT / "build" / t.arch
    manifest = t.folder / "intruder.toml"
    manifest.write_text((qemu.ROOT / "boot" / "system.toml").read_text() + SERVICE.format(calls=calls, seed=SEED))
    files = [f"bin/{name}{end}={folder}/boot/{name}{end}" for name in PROGRAMS for end in ("", ".sym")]
    files.append(f"www={folder}/services/httpd/www.cpio")
    path, said = t.image("--manifest", manifest, *(part for file in files for part in ("--file", file)))
    t.check(path is not None, said)
    return path


def facts(machine):
    """What must stay: services by name (process, state, restarts, memory) and objects by type (count, bytes)."""
    machine.http("/status.json")
    time.sleep(1)
    found = json.loads(machine.http("/status.json").text)
    return ({s["name"]: (s["process"], s["state"], s["restarts"], s["used_bytes"]) for s in found["services"] if s["name"] != "intruder"},
            {o["type"]: (o["count"], o["bytes"]) for o in found["memory"]["objects"]})


@scenario(timeout=400)
def system_hostile(t):
    calls = t.scaled(200_000, 10_000_000)
    machine = t.boot(image=image(t, calls), mem="64M")
    machine.http_ready("/")
    machine.expect(r"tsh>")
    # Once with few calls, so that every page of the others that this uses is there.
    machine.send("run intruder 2000\r")
    machine.expect(r"INTRUDER done, \d+ calls", timeout=60)
    before, objects = facts(machine)
    start = len(machine.serial)
    machine.send("start intruder\r")
    machine.expect(r"INTRUDER \d+ calls, seed", timeout=10)
    done = machine.expect(r"INTRUDER done, (\d+) calls", timeout=t.scaled(300, 6000))
    said = machine.serial[start:]
    failed = re.findall(r"INTRUDER FAIL.*", said)
    t.check(not failed, "; ".join(failed[:5]))
    t.check(int(done[1]) >= calls, f"only {done[1]} calls")
    t.check(len(said) < LOG_BYTES, f"{len(said)} bytes of log")
    machine.refuse(r"PANIC", 1)
    t.check(machine.http("/").status == 200, "no page")
    after, left = facts(machine)
    for name, state in before.items():
        t.check(after.get(name) == state, f"{name} was {state}, is {after.get(name)}")
    different = [f"{kind} {objects[kind]} -> {left.get(kind)}" for kind in objects if objects[kind] != left.get(kind)]
    t.check(not different, f"count and bytes: {', '.join(different)}")
    children = re.findall(r"\d+ children.*", said)
    t.note(f"{done[1]} calls, {children[-1]}")
