"""Services die while requests run: each comes back by itself, nothing else is touched, and nothing is lost for good."""
import re
import threading
import time

import qemu
from scenario import scenario
from system_facts import facts, facts_complete, facts_when, held, is_complete, is_quiet, wait_held, wait_until

VICTIMS = ("virtio-net", "netd", "httpd", "virtio-rng", "entropyd", "devmgr", "serial")
DRIVERS = ("virtio-net", "virtio-rng", "serial")
LIMIT_S = 2.0               # guest time from the death to the next page, on a machine of its own
SHARED_FACTOR = 2           # for machines that do other things meanwhile
FORGIVEN_S = 11             # having run this long, a service is restarted at once again


class Visitors:
    """Clients that ask for pages all the time and expect nothing: connections that die with a service are part of the game."""

    def __init__(self, machine, count):
        self.machine, self.is_over, self.good, self.bad = machine, False, 0, 0
        self.threads = [threading.Thread(target=self.visit, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join(30)

    def visit(self):
        while not self.is_over:
            try:
                if self.machine.http("/", timeout=2).status == 200:
                    self.good += 1
                    continue
            except OSError:
                pass
            self.bad += 1
            time.sleep(0.02)


def kill(t, machine, victim):
    """Kills a service from the shell and asks for facts until they tell of its next life; gives (guest seconds without a page,
    the facts). QEMU's network repeats what a dead driver lost only after seconds: short patience, asked often."""
    last = facts_complete(machine)
    # Drivers end with devmgr, which alone may touch their devices' configuration.
    ending = (victim, *DRIVERS) if victim == "devmgr" else (victim,)
    wanted = {name: restarts(last)[name] + 1 for name in ending}
    state = {"uptime": last["uptime_ns"], "gap": 0}
    # While devmgr takes the serial driver's registers away, that driver has something to print. What was typed before it died may
    # be half a line.
    machine.send(f"\nkill {victim}\n" + ("ps\n" * 3 if victim == "devmgr" else ""))

    def ask():
        try:
            found = facts(machine, timeout=0.5)
        except OSError:
            return None
        state["gap"] = max(state["gap"], found["uptime_ns"] - state["uptime"])
        state["uptime"] = found["uptime_ns"]
        return found if is_complete(found) and is_running(found) and is_past(found, wanted) else None
    found = wait_until(ask, 60, f"the page after {victim} was killed", pause=0.01)
    return state["gap"] / 1e9, found


def is_past(found, wanted):
    return all(restarts(found)[name] >= count for name, count in wanted.items())


def is_running(found):
    return all(service["state"] == "running" for service in found["services"])


def restarts(found):
    return {service["name"]: service["restarts"] for service in found["services"]}


def audit(machine):
    """(handles, own memory) of init."""
    machine.send("\nmem\n")
    match = machine.expect(r"init: (\d+) of \d+ handles, (\d+) restarts of services\n +init itself +(.+)\n", 20)
    return match[1], match[3]


def killing_rounds(t, machine, rounds, gaps):
    for done in range(rounds):
        if done % 2 == 0:
            machine.refuse(r"panic", FORGIVEN_S)    # init gives up what ends ten times in a row
        for victim in VICTIMS:
            gap, found = kill(t, machine, victim)
            gaps[victim] = max(gaps.get(victim, 0), gap)


@scenario(cpus=(1, 4), timeout=300)
def kill_all(t):
    machine = t.boot(is_single_threaded=qemu.is_map_racy(t.arch))
    machine.http_ready("/", timeout=60)
    # Nothing is warmed up: what a service works with is there when it starts, so its later lives hold what its first one did.
    init_before = audit(machine)
    first = facts_when(machine, is_quiet, 40, "facts of a quiet system")
    before = held(first)
    rounds, gaps = t.scaled(5, 40), {}
    with Visitors(machine, 3) as visitors:
        killing_rounds(t, machine, rounds, gaps)
    t.check(visitors.good > 0, "no visitor saw a page")
    t.note(f"{visitors.good} pages, {visitors.bad} failed meanwhile; longest seconds without a page: " +
           " ".join(f"{name} {gap:.2f}" for name, gap in gaps.items()))
    limit = LIMIT_S * SHARED_FACTOR * qemu.TEST_SCALE
    for victim, gap in gaps.items():
        t.check(gap < limit, f"{victim}: no page for {gap:.1f} s")
    after = wait_held(machine, before, 60, "what is held, after")
    # Drivers end with devmgr, which alone may touch their devices' configuration.
    ends = {name: (name in VICTIMS) + (name in DRIVERS and "devmgr" in VICTIMS) for name in restarts(first)}
    wanted = {name: count + rounds * ends[name] for name, count in restarts(first).items()}
    t.check(restarts(after) == wanted, f"restarts {restarts(after)}, expected {wanted}")
    init_after = audit(machine)
    t.check(init_before == init_after, f"init held {init_before}, now {init_after}")
    t.check(not re.search(r"crashed|given up|panic", machine.serial), "something crashed: see the serial log")
