"""Churn on all CPUs: everything is made, used, interrupted and destroyed at random; afterwards all memory by type is back."""
import guest
from scenario import scenario


@scenario(cpus=(1, 4, 8), timeout=240)
def stress(t):
    seconds = t.scaled(5, 900)
    guest.run(t, "stress", timeout=seconds + 200, mem="96M", arguments=f"stress.seconds={seconds} stress.seed={t.scaled(1, t.cpus)}")
