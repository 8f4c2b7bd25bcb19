"""Many requests: none fails, and afterwards the system holds what it held before. Then idle: nobody's timer runs."""
import re
import subprocess

import qemu
from scenario import scenario
from system_facts import connect, difference, facts_complete, facts_when, held, is_drained, is_quiet, shell, wait_held, wait_until

CONFIGURATIONS = [(connections, is_kept) for connections in (1, 16, 64) for is_kept in (False, True)]
CONNECTIONS_MOST = 128          # httpd's slots
TIME_WAIT_S = 30                # netd's, counted by a clock of half seconds
IDLE_NS = 10_000_000_000
IDLE_TIMERS = 6                 # interrupts of all CPUs in IDLE_NS


def run_ab(t, machine, path, requests, connections, is_kept):
    """Requests by ab; gives how many a second."""
    command = ["ab", "-l", "-q", "-s", "60", "-n", str(requests), "-c", str(connections), *(["-k"] if is_kept else []),
               f"http://127.0.0.1:{machine.options.http_port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + requests * 0.2 * qemu.TEST_SCALE)
    where = f"{requests} of {path} over {connections} connections{', kept' if is_kept else ''}"
    t.check(done.returncode == 0, f"{where}: ab says {done.stderr.strip()[-300:]}")
    figures = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in done.stdout.splitlines())}
    t.check(figures["Complete requests"] == str(requests), f"{where}: {figures['Complete requests']} complete")
    for name in ("Failed requests", "Non-2xx responses", "Write errors"):
        t.check(figures.get(name, "0") == "0", f"{where}: {name}: {figures.get(name)}")
    return float(re.match(r"[\d.]+", figures["Requests per second"])[0])


def warm_up(t, machine):
    """All that is given on first touch and then kept: TCP's connections, all slots of httpd with their page tables."""
    run_ab(t, machine, "/style.css", 704, 64, False)
    for _ in range(2):
        links = [connect(machine) for _ in range(CONNECTIONS_MOST)]
        for link in links:
            link.sendall(b"GET / HTTP/1.1\r\nHost: tessera\r\n\r\n")
        for link in links:
            t.check(link.recv(65536).startswith(b"HTTP/1.1 200 "), "one of many connections got no page")
        for link in links:
            link.close()


@scenario(cpus=(1, 4), timeout=300)
def requests(t):
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    warm_up(t, machine)
    facts_when(machine, is_drained if t.scaled(False, True) else is_quiet, 3 * TIME_WAIT_S, "quiet after warming up")
    before = wait_stable(machine)
    first = facts_complete(machine)
    speeds = []
    for connections, is_kept in CONFIGURATIONS:
        for path in ("/", "/style.css"):
            speed = run_ab(t, machine, path, t.scaled(1_000, 20_000) // 2, connections, is_kept)
            if path == "/":
                speeds.append(f"{connections}{'k' if is_kept else ''}:{speed:.0f}")
    t.note(f"pages a second by connections (k: kept) {' '.join(speeds)}")
    facts_when(machine, is_drained, 3 * TIME_WAIT_S, "drained")
    after = wait_held(machine, before, 20, "what is held, after")
    for name in ("errors", "timeouts", "refused"):
        t.check(after["http"][name] == first["http"][name], f"http {name}: {first['http'][name]} -> {after['http'][name]}")
    t.check(all(s["restarts"] == 0 for s in after["services"]), "a service was restarted")
    check_idle(t, machine)


def wait_stable(machine):
    """What is held, the same in two looks a second apart: slots go back by a timer of httpd."""
    state = {"held": None}

    def ask():
        found = held(facts_complete(machine))
        is_same = state["held"] is not None and not difference(state["held"], found)
        state["held"] = found
        return found if is_same else None
    return wait_until(ask, 30, "a stable picture", pause=4)


def timer_interrupts(machine):
    """(timer interrupts of all CPUs, interrupts of all CPUs) since boot, read over the serial line: the network stays quiet."""
    shell(machine, "top 1", r"CPU 0 ")
    start = machine.serial.rfind("top 1")
    machine.expect(r"^ *PID NAME")
    lines = re.findall(r"CPU \d+ .* (\d+) interrupts +(\d+) timer", machine.serial[start:])
    return sum(int(timer) for _, timer in lines), sum(int(all_) for all_, _ in lines)


def check_idle(t, machine):
    """Without traffic no CPU is woken by a timer, except for the few deadlines that are real."""
    # ARP's clock runs on for ten seconds after the last frame, httpd gives slots back after three.
    machine.refuse(r"panic", 15)
    before, all_before = timer_interrupts(machine)
    machine.refuse(r"panic", IDLE_NS / 1e9)
    after, all_after = timer_interrupts(machine)
    t.note(f"idle for 10 s: {after - before} timer interrupts, {all_after - all_before} in all")
    t.check(after - before <= IDLE_TIMERS, f"{after - before} timer interrupts in 10 s without anything to do")
