"""The main job: the page is served, soon after QEMU's start, with the system's figures in it."""
import json
import subprocess

from scenario import scenario

LIMIT_SECONDS = {"x86_64": 3, "aarch64": 3, "riscv64": 4}


@scenario(alone=True)
def page(t):
    machine = t.boot()
    answer = machine.http_ready("/")
    seconds = machine.uptime()
    t.note(f"page after {seconds:.2f} s")
    t.check(seconds <= LIMIT_SECONDS[t.arch], f"the page came after {seconds:.1f} s")
    t.check(answer.status == 200 and "text/html" in answer.headers.get("Content-Type", ""), "no HTML")
    t.check("Tessera" in answer.text, "no name in the page")
    facts = json.loads(machine.http("/status.json").text)
    t.check(len(facts["cpus"]) == t.cpus, f"{len(facts['cpus'])} CPUs in status.json")
    t.check(machine.http("/no-such-page").status == 404, "no 404")


@scenario(cpus=(2, 3, 8))
def other_cpus(t):
    """Other numbers of CPUs: all of them come up, and the page is there."""
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    facts = json.loads(machine.http("/status.json").text)
    t.check([c["online"] for c in facts["cpus"]] == [1] * t.cpus, f"{facts['cpus']}")


@scenario(timeout=300)
def requests(t):
    """Many requests, 1 to 32 connections, keep-alive on and off: none fails."""
    machine = t.boot()
    machine.http_ready("/")
    count = t.scaled(1000, 20_000)
    # A file's length is fixed, so ab counts every short or wrong body as a failure. The page's varies with its figures (-l).
    for path, connections, keep_alive in (("/style.css", 1, True), ("/style.css", 8, False), ("/", 32, True), ("/style.css", 64, False)):
        url = f"http://127.0.0.1:{machine.options.http_port}{path}"
        command = ["ab", "-q", "-n", str(count // 4), "-c", str(connections), *(["-k"] if keep_alive else []),
                   *(["-l"] if path == "/" else []), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250)
        t.check(done.returncode == 0, f"ab -c {connections}: {done.stderr.strip()[-200:]}")
        figures = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
        failed, complete = int(figures["Failed requests"].split()[0]), int(figures["Complete requests"].split()[0])
        t.check(failed == 0 and complete == count // 4 and "Non-2xx responses" not in figures,
                f"ab -c {connections}: {failed} failed, {complete} of {count // 4} complete")
        t.note(f"{connections}{'k' if keep_alive else ''}: {float(figures['Requests per second'].split()[0]):.0f}/s")
    t.check(machine.http("/").status == 200, "no page afterwards")
