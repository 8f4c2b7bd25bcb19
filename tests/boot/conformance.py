"""Every method of every kernel object: tests/conformance boots in init's place and says what it found, a line for each test."""
import guest
from scenario import scenario


@scenario(cpus=(1, 4), timeout=300)
def conformance(t):
    guest.run(t, "conformance", timeout=240)


# Emulated CPUs with vectors whose length varies, and on aarch64 all that hardens it (BTI, PAN); all of AVX is in the usual one.
VECTOR_CPUS = {"aarch64": ("max,pauth-impdef=on", 64), "riscv64": ("rv64,v=true,vlen=256", 32)}


@scenario(arches=tuple(VECTOR_CPUS), cpus=(4,), timeout=300)
def vectors(t):
    """SVE and V registers are a thread's own, as far as they are kept; the kernel runs with everything such a CPU has."""
    cpu, vector_bytes = VECTOR_CPUS[t.arch]
    machine = guest.run(t, "conformance", timeout=240, cpu=cpu)
    guest.find(machine, f"fpu.state_is_kept ok {vector_bytes} bytes")
