"""Machines with less or more than the system expects: it says what is missing, and everything that can work does."""
from scenario import scenario
from system_facts import shell


def check_shell(machine):
    machine.expect(r"^tsh> ", 30)
    shell(machine, "echo still here", r"^still here$")


@scenario(cpus=(1, 4), timeout=60)
def no_card(t):
    machine = t.boot(net="none", http_port=None)
    machine.expect(r"warning virtio-net: no network card|virtio-net: no network card", 30)
    machine.expect(r"init: virtio-net \(process \d+\) exited, status 0; not restarted", 30)
    machine.expect(r"warning netd: no network driver answers \(\w+\); waiting for one", 30)
    machine.expect(r"httpd: listening on port 80", 30)
    shell(machine, "net", r"^link down, 00:00:00:00:00:00, no address yet$")
    for service, state in (("virtio-net", "stopped"), ("netd", "running"), ("httpd", "running")):
        shell(machine, "services", rf"^{service} +{state} ")


@scenario(cpus=(1, 4), timeout=60)
def no_entropy(t):
    machine = t.boot(rng=False)
    machine.expect(r"virtio-rng: no random number device", 30)
    machine.expect(r"warning netd: no entropy \(\w+\); sequence numbers are guessable", 30)
    t.check("Tessera" in machine.http_ready("/", timeout=30).text, "no title")


@scenario(cpus=(1, 4), timeout=60)
def two_cards(t):
    machine = t.boot(extra=["-netdev", "user,id=net1", "-device", "virtio-net-pci,netdev=net1,disable-legacy=on,romfile="])
    machine.http_ready("/", timeout=30)
    machine.send("devices\n")
    machine.expect(r"1af4:1041  020000  virtio-net\n(?s:.*)1af4:1041  020000  nobody\n", 10)


@scenario(cpus=(1, 4), timeout=60)
def nothing(t):
    machine = t.boot(net="none", http_port=None, rng=False)
    check_shell(machine)
    shell(machine, "services", r"^netd +running ", 30)
