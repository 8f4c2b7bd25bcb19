"""The kernel's trace: switched on in the shell, fetched over HTTP, turned into Chrome's format, which is then checked event by event."""
import importlib.machinery
import importlib.util
import json
import time

import qemu
from scenario import scenario


def converter():
    loader = importlib.machinery.SourceFileLoader("trace2json", str(qemu.ROOT / "tools" / "trace2json"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("trace2json", loader))
    loader.exec_module(module)
    return module


def check_format(t, trace, cpus):
    """What a viewer relies on: fields there, times monotonic, slices nested, every beginning with its end, names present."""
    events = trace["traceEvents"]
    t.check(len(events) > 100, f"{len(events)} events")
    last, open_slices, begun, flows = 0, {}, {}, {}
    named_processes, named_threads = set(), set()
    for e in events:
        t.check(all(key in e for key in ("ph", "name", "ts", "pid", "tid")), f"fields are missing: {e}")
        if e["ph"] == "M":
            (named_processes if e["name"] == "process_name" else named_threads).add((e["pid"], e["tid"] if e["name"] == "thread_name" else 0))
            t.check(e["args"]["name"], f"no name: {e}")
            continue
        t.check(e["ts"] >= last >= 0, f"time goes back: {e}")
        last = e["ts"]
        track = (e["pid"], e["tid"])
        t.check((e["pid"], 0) in named_processes, f"a process without a name: {e}")
        t.check(track in named_threads or e["ph"] == "i", f"a thread without a name: {e}")
        if e["ph"] == "X":
            t.check(e["dur"] >= 0 and e["ts"] >= open_slices.get(track, 0) - 0.0005, f"slices overlap: {e}")
            open_slices[track] = e["ts"] + e["dur"]
        elif e["ph"] in "be":
            t.check((e["ph"] == "b") != (e["id"] in begun), f"begins twice or ends without a beginning: {e}")
            begun[e["id"]] = begun.get(e["id"], 0) + 1
        elif e["ph"] in "sf":
            t.check((e["ph"] == "s") != (e["id"] in flows), f"an arrow without its other end: {e}")
            flows[e["id"]] = flows.get(e["id"], 0) + 1
        else:
            t.check(e["ph"] == "i" and e["s"] in "tp", f"unknown phase: {e}")
    t.check(all(n == 2 for n in begun.values()) and all(n == 2 for n in flows.values()), "something begins and does not end")
    t.check(len(flows) > 0, "no call with its reply")
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    for wanted in ("httpd", "netd", "virtio-net", "tsh", *(f"CPU {i}" for i in range(cpus))):
        t.check(any(name.startswith(wanted) for name in names), f"no {wanted} among {sorted(names)}")
    seen = {e["name"].split(" ")[0] for e in events if e["ph"] == "i"}
    for wanted in ("interrupt", "timer", "event.set"):
        t.check(wanted in seen, f"no {wanted} among {sorted(seen)}")
    running = {e["pid"] for e in events if e["ph"] == "X" and e["cat"] == "running"}
    t.check(len(running) >= 4, f"only processes {running} ran")


@scenario(cpus=(1, 4), timeout=120)
def trace(t):
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    machine.expect("tsh> ", timeout=30)
    t.check(machine.http("/trace.bin").status == 404, "a recording before one was started")
    machine.send("trace\n")
    machine.expect("nothing is recorded", timeout=20)
    machine.send("trace start 4096\n")
    machine.expect("recording, the last [0-9]+ records of each CPU", timeout=20)
    for _ in range(10):
        t.check(machine.http("/").status == 200, "no page while recording")
    live = machine.http("/trace.bin", timeout=30)
    t.check(live.status == 200, f"{live.status} for a recording under way")
    machine.send("trace show 5\n")
    machine.expect(r"cpu \d+ #\d+ (switch|syscall|call|reply|timer|interrupt|ipi)", timeout=20)
    machine.expect("recording, the last", timeout=20)
    machine.send("trace stop\n")
    machine.expect("stopped, the last", timeout=20)
    answer = machine.http("/trace.bin", timeout=30)
    again = machine.http("/trace.bin", timeout=30)
    size = len(answer.body)
    t.check(answer.status == 200 and size > 10_000, f"{answer.status}, {size} bytes")
    t.check(answer.body[32:] == again.body[32:], "two readers of a stopped recording saw different things")
    module = converter()
    abi = json.loads((qemu.ROOT / "build" / t.arch / "abi" / "gen" / "abi.json").read_text())
    for body in (live.body, answer.body):
        recording = module.Recording(body, abi)
        t.check(len(recording.cpus) == t.cpus, f"{len(recording.cpus)} CPUs")
        for events in [*recording.cpus, recording.lives]:
            t.check(all(a.time_ns <= b.time_ns for a, b in zip(events, events[1:])), "times of one CPU go back")
        if t.cpus == 1:
            t.check(sum(map(len, recording.cpus)) > 500, "too little was recorded")
    result = json.loads(json.dumps(module.Converter(recording).convert()))
    (t.log_folder / "trace.json").write_text(json.dumps(result))
    check_format(t, result, t.cpus)
    t.note(f"{len(result['traceEvents'])} events, {size} bytes")
    for cut in (0, 7, 63, 100, size - 1):
        try:
            module.Recording(answer.body[:cut], abi)
            t.check(False, f"the first {cut} bytes were taken for a recording")
        except module.TraceError:
            pass
    machine.send("trace end\n")
    machine.expect("nothing is recorded", timeout=20)
    t.check(machine.http("/trace.bin").status == 404, "a recording after its end")
    # The tracer dies in the middle: the recording ends, and its memory comes back with the shell's.
    machine.send("trace start\n")
    machine.expect("recording, the last", timeout=20)
    machine.send("restart tsh\n")
    end = time.monotonic() + 30 * qemu.TEST_SCALE
    while machine.http("/trace.bin").status != 404 and time.monotonic() < end:
        time.sleep(0.2)
    t.check(machine.http("/trace.bin").status == 404, "the recording outlived the shell")


@scenario(cpus=(1,), timeout=120)
def audit(t):
    """Who gave what to whom, in words and as JSON."""
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    machine.expect("tsh> ", timeout=30)
    records = json.loads(machine.http("/audit.json").text)["records"]
    t.check(len(records) > 50, f"{len(records)} records")
    sequences = [r["sequence"] for r in records]
    t.check(sequences == list(range(sequences[0], sequences[0] + len(records))), "sequence numbers are not in a row")
    made = {r["to_name"] for r in records if r["what"] == "process"}
    t.check({"devmgr", "netd", "httpd", "tsh", "virtio-net"} <= made, f"made: {made}")
    device = [r for r in records if r["what"] == "device"]
    t.check({r["from_name"] for r in device} == {"devmgr"}, f"hardware was given out by {device}")
    t.check({"memory", "interrupt", "dma"} <= {r["type"] for r in device}, f"{device}")
    # Who may log is seen by whom init gave the log to; and nothing of it was denied.
    given = {(r["from_name"], r["to_name"]) for r in records if r["what"] in ("give", "mint")}
    t.check(("init", "netd") in given and ("devmgr", "virtio-net") in given, f"given: {given}")
    t.check(not [r for r in records if r["what"] == "denied"], "something was denied at boot")
    machine.send("audit devmgr\n")
    machine.expect(r"devmgr \(\d+\) made (memory|interrupt|dma|ioports) \d+ of hardware", timeout=20)
    machine.expect(r"devmgr \(\d+\) gave virtio-net \(\d+\) (memory|interrupt|dma) \d+ \(", timeout=20)
    machine.expect("tsh> ", timeout=20)
    machine.send("kill virtio-rng\n")
    machine.expect("tsh> ", timeout=20)
    machine.send("audit virtio-rng\n")
    machine.expect(r"killed virtio-rng", timeout=20)
