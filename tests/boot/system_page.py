"""The page, seen from outside: how soon it comes, what it says, and HTTP/1.1 as a browser needs it."""
import json
import re
import socket
import threading
import time

import qemu
from scenario import scenario
from system_facts import SERVICES, connect, facts, facts_when, is_complete, responses

LIMIT_S = {"x86_64": 3.0, "aarch64": 3.0, "riscv64": 4.0}   # from QEMU's start, under emulation, on a machine of its own
SHARED_FACTOR = 10                                          # for machines that do other things meanwhile
SLIRP_RETRY_S = 6.0                                         # QEMU's user network repeats a lost SYN only after this


def ask_early(port, out):
    """A client that is there before the guest: connects as soon as QEMU listens, then waits for its answer."""
    deadline = time.monotonic() + 60 * qemu.TEST_SCALE
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
                link.sendall(b"GET / HTTP/1.1\r\nHost: tessera\r\nConnection: close\r\n\r\n")
                answer = link.recv(65536)
                if answer:
                    out["seconds"], out["answer"] = time.monotonic(), answer
                    return
        except OSError:
            time.sleep(0.005)


@scenario(cpus=(1, 4), timeout=90)
def first(t):
    port, early = qemu.free_port(), {}
    client = threading.Thread(target=ask_early, args=(port, early), daemon=True)
    client.start()
    machine = t.boot(http_port=port)
    configured = float(machine.expect(r"\[ *([\d.]+)\] netd: .*address 10\.0\.2\.15 by DHCP", timeout=60)[1])
    client.join(60)
    t.check(early.get("answer", b"").startswith(b"HTTP/1.1 200 OK\r\n"), f"the early client got {early.get('answer')!r}")
    seconds = early["seconds"] - machine.started
    first_byte = facts(machine)["http"]["first_byte_ns"] / 1e9
    t.note(f"page {seconds:.2f} s after QEMU's start, guest clock {first_byte:.2f} s")
    limit = LIMIT_S[t.arch] * SHARED_FACTOR * qemu.TEST_SCALE
    t.check(seconds < limit, f"first page after {seconds:.1f} s, limit {limit} s")
    t.check(first_byte - configured < SLIRP_RETRY_S / 2,
            f"a SYN that came before the address was lost: address at {configured} s, first byte at {first_byte} s")


def check_facts(t, found):
    t.check(found["system"] == "Tessera" and found["arch"] == t.arch, f"system {found['system']}, arch {found['arch']}")
    t.check([c["index"] for c in found["cpus"]] == list(range(t.cpus)), f"CPUs {found['cpus']}")
    for cpu in found["cpus"]:
        t.check(cpu["online"] == 1 and cpu["load_permille"] <= 1000, f"CPU {cpu}")
        t.check(cpu["busy_ns"] + cpu["idle_ns"] <= found["uptime_ns"] * 1.05, f"CPU {cpu}, uptime {found['uptime_ns']}")
    memory = found["memory"]
    t.check(96 << 20 < memory["ram_bytes"] <= 128 << 20, f"RAM {memory['ram_bytes']}")
    t.check(0 < memory["free_bytes"] < memory["ram_bytes"], f"free {memory['free_bytes']}")
    objects = {o["type"]: o["count"] for o in memory["objects"]}
    t.check(objects["process"] == found["process_count"] == len(found["processes"]) == len(SERVICES) + 1, f"processes {objects}")
    t.check({s["name"] for s in found["services"]} == set(SERVICES), f"services {found['services']}")
    by_id = {p["id"]: p for p in found["processes"]}
    for service in found["services"]:
        t.check(service["state"] == "running" and service["restarts"] == 0, f"service {service}")
        t.check(0 < service["used_bytes"] <= service["limit_bytes"], f"service {service}")
        t.check(by_id[service["process"]]["name"] == service["name"], f"process of {service}")
    holders = {d["class"]: d["holder"] for d in found["devices"]}
    t.check(holders["network"] == "virtio-net" and holders["entropy"] == "virtio-rng", f"devices {found['devices']}")
    net = found["net"]
    t.check((net["address"], net["gateway"], net["flags"]) == ("10.0.2.15", "10.0.2.2", 7), f"net {net}")


def check_page(t, page, found):
    t.check(page.headers["Content-Type"].startswith("text/html"), f"headers {page.headers}")
    t.check(page.text.startswith("<!doctype html>") and "<title>" in page.text, "no HTML")
    for word in ("Tessera", t.arch, *SERVICES):
        t.check(word in page.text, f"the page does not say {word}")
    t.check(page.text.count("<tbody") == page.text.count("</tbody>"), "an unfinished table")
    used = set(re.findall(r'(?:src|href)="?(/[^"> ]+)', page.text)) - {"/"}
    t.check("/status.json" in used or len(used) >= 3, f"the page refers to {used}")
    return sorted(used)


def check_files(t, machine, paths):
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "json": "application/json"}
    for path in paths:
        file = machine.http(path)
        t.check(file.status == 200 and file.body, f"{path}: status {file.status}, {len(file.body)} bytes")
        t.check(file.headers["Content-Type"].startswith(kinds[path.rpartition(".")[2]]), f"{path}: {file.headers}")
        head = machine.http(path, method="HEAD")
        t.check(head.status == 200 and head.body == b"", f"HEAD {path}: {head.status}, {len(head.body)} bytes")
        if "ETag" in file.headers:
            t.check(head.headers["Content-Length"] == str(len(file.body)), f"HEAD {path}: {head.headers}")
            again = machine.http(path, headers={"If-None-Match": file.headers["ETag"]})
            t.check(again.status == 304 and again.body == b"", f"{path} again: {again.status}")
            other = machine.http(path, headers={"If-None-Match": '"something else"'})
            t.check(other.status == 200 and other.body == file.body, f"{path} with another tag: {other.status}")
    t.check(any("ETag" in machine.http(path, method="HEAD").headers for path in paths), "no static file has a tag")


def check_refusals(t, machine):
    t.check(machine.http("/nothing/here").status == 404, "no 404")
    t.check(machine.http("/../../etc/passwd").status in (400, 404), "a way out of the root")
    for method, status in (("POST", 405), ("DELETE", 405), ("BREW", 501)):
        answer = machine.http("/", method=method, body=b"x" * 10)
        t.check(answer.status == status, f"{method}: status {answer.status}")
        t.check(status != 405 or answer.headers.get("Allow") == "GET, HEAD", f"{method}: {answer.headers}")


def check_connections(t, machine):
    """Keep-alive: one connection, many requests. Pipelining: many at once, answered in order."""
    wanted = [("/style.css", 200), ("/nothing", 404), ("/status.json", 200), ("/", 200)] * 10
    before = facts(machine)
    with connect(machine) as link:
        stream = link.makefile("rb")
        for path, status in wanted:
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: tessera\r\n\r\n".encode())
            line = stream.readline()
            t.check(line.startswith(f"HTTP/1.1 {status} ".encode()), f"{path}: {line!r}")
            headers = {}
            while (line := stream.readline().strip()):
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            t.check(headers[b"connection"] == b"keep-alive", f"{path}: {headers}")
            t.check(len(stream.read(int(headers[b"content-length"]))) > 0, f"{path}: no body")
        data = b"".join(f"GET {path} HTTP/1.1\r\nHost: tessera\r\n\r\n".encode() for path, _ in wanted[:-1])
        link.sendall(data + b"GET / HTTP/1.1\r\nHost: tessera\r\nConnection: close\r\n\r\n")
        got = responses(stream.read())
        t.check([r[0] for r in got] == [status for _, status in wanted], f"pipelined: {[r[0] for r in got]}")
        t.check(got[-1][1]["connection"] == "close", f"the last one says {got[-1][1]}")
    after = facts_when(machine, lambda f: f["http"]["requests"] >= before["http"]["requests"] + 2 * len(wanted) + 1, 10, "counting")
    t.check(after["http"]["accepted"] <= before["http"]["accepted"] + 40, "keep-alive opened connections anew")


@scenario(cpus=(1, 4), timeout=90)
def content(t):
    machine = t.boot()
    page = machine.http_ready("/", timeout=60)
    found = facts_when(machine, is_complete, 30, "all facts")
    check_facts(t, found)
    paths = check_page(t, page, found)
    later = facts_when(machine, lambda f: is_complete(f) and f["uptime_ns"] > found["uptime_ns"], 10, "a later uptime")
    t.check(later["http"]["requests"] > found["http"]["requests"], "requests are not counted")
    t.check(later["net"]["rx_frames"] > found["net"]["rx_frames"], "frames are not counted")
    t.check(sum(c["syscalls"] for c in later["cpus"]) > sum(c["syscalls"] for c in found["cpus"]), "system calls are not counted")
    check_files(t, machine, paths)
    check_refusals(t, machine)
    check_connections(t, machine)
    t.check(json.loads(machine.http("/status.json").text)["http"]["timeouts"] == 0, "something timed out")
