"""A process that holds an endpoint and itself tries everything; afterwards all memory is back and the server answers."""
import guest
from scenario import scenario


@scenario(cpus=(1, 4), timeout=300)
def hostile(t):
    calls = t.scaled(200_000, 10_000_000)
    machine = guest.run(t, "hostile", timeout=t.scaled(240, 7200), arguments=f"hostile.calls={calls} hostile.seed={t.scaled(1, t.cpus)}")
    found = guest.find(machine, r"HOSTILE done, (\d+) calls")
    t.check(int(found[1]) >= calls, f"only {found[1]} calls")
    t.note(f"{found[1]} calls")
