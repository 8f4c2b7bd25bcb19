"""Every method of every kernel object: tests/conformance boots in init's place and says what it found, a line for each test."""
import guest
from scenario import scenario


@scenario(cpus=(1, 4), timeout=300)
def conformance(t):
    guest.run(t, "conformance", timeout=240)
