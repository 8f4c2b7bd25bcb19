#!/usr/bin/env python3
"""Prints every #include that points the wrong way, and every include cycle. The rules are in ALLOWED; the build's include paths
enforce most of them, this names the offender (docs/architecture: principle "each folder sees only what it declares")."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = ("kernel", "lib", "drivers", "services", "apps", "personality", "tests")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
FREESTANDING = {"stddef.h", "stdint.h", "stdbool.h", "stdarg.h", "stdatomic.h", "stdckdint.h", "limits.h", "stdalign.h",
                "stdnoreturn.h", "float.h", "iso646.h"}
# What idlc makes: the first for everybody, the others for the kernel and for programs.
GENERATED, GENERATED_KERNEL = "tess/abi.h", ("kernel/abi_dispatch.h", "kernel/trace_events.h")
GENERATED_USER = re.compile(r"tess/(stub|serve)/\w+\.h|linux/calls\.h")
# On the build machine these are its C library's, also where a folder has its own for what it builds (netd's, for lwIP).
HOSTED = {"elf.h", "errno.h", "link.h", "math.h", "ucontext.h", "pthread.h", "sched.h", "semaphore.h", "setjmp.h", "signal.h", "stdio.h", "stdlib.h", "string.h",
          "time.h", "unistd.h", "linux/futex.h", "sys/mman.h", "sys/syscall.h", "sys/wait.h", "sanitizer/asan_interface.h", "sanitizer/common_interface_defs.h"}


# What stands in for others' headers, or includes their sources: seen by the proofs and by the explorer only.
SUBSTITUTES = ("tests/proof/", "kernel/tests/explore/include/")


def component(path):
    """The unit of the tree a file belongs to: "lib/core", "kernel", "kernel/arch/x86_64", "drivers/net/virtio", ..."""
    parts = path.relative_to(ROOT).parts
    depth = {"kernel": 3 if len(parts) > 3 and parts[1] == "arch" and parts[2] != "include" else 1,
             "lib": 2, "drivers": 2 if parts[1] == "test" else 3, "services": 2, "apps": 2, "personality": 2, "tests": 2}[parts[0]]
    return "/".join(parts[:depth])


def is_test(path):
    """Does it run on the build machine, or may it? The folders in tests/ other than host/ are programs of ours."""
    parts = path.relative_to(ROOT).parts
    return any(part in ("test", "tests") for part in parts[1:-1]) or parts[:3] == ("kernel", "arch", "host") or \
        parts[:2] == ("tests", "host")


def allowed(user, used, path):
    """May component `user` include a header of component `used`?"""
    if user == used or is_test(path) and used == "tests/host":
        return True
    if user.startswith("kernel"):
        return used in ("kernel", "lib/core") or is_test(path) and used == "kernel/arch/host"
    if user.startswith("tests/") and used.startswith("tests/"):
        return True    # they share the frame and the list of methods
    if used == "personality/linux":
        return user in ("services/posixd", "tests/linux")    # how a process is started: linux/start.h
    if user == "personality/linux":
        return used in ("lib/core", "lib/ring")
    rules = {"lib/core": set(), "lib/alloc": {"lib/core"}, "lib/ring": {"lib/core"}, "lib/std": {"lib/core", "lib/alloc"}}
    if user in rules:
        return used in rules[user]
    if user.startswith("lib/"):
        return used.startswith("lib/")
    if user.startswith("drivers/") and used.startswith("drivers/lib/"):
        return not user.startswith("drivers/lib/")
    # Drivers, services, programs: any library, and the published headers of nobody else.
    return used.startswith("lib/")


# An architecture's part of the contract kernel/arch/include/arch/arch.h; which one is seen is the build's choice.
CONTRACT_OF_ARCH = {"arch/frame.h", "arch/impl.h"}


def index_headers(files):
    """{name as included: [path]} for headers below an include/ folder."""
    found = {}
    for path in files:
        parts = path.relative_to(ROOT).parts
        if path.suffix == ".h" and "include" in parts:
            # The last include/ folder, except that kernel/arch/include/arch has its own.
            place = len(parts) - 1 - parts[::-1].index("include")
            found.setdefault("/".join(parts[place + 1:]), []).append(path)
    return found


def main():
    files = [p for tree in TREES for p in sorted((ROOT / tree).rglob("*")) if p.suffix in (".c", ".h", ".S") and p.is_file()
             and not str(p.relative_to(ROOT)).startswith(SUBSTITUTES)]
    headers = index_headers(files)
    problems, graph = [], {}
    for path in files:
        text = path.read_text()
        edges = graph.setdefault(path, set())
        for match in INCLUDE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            name = match[2]
            if match[1] == "<" and name in HOSTED and is_test(path):
                continue
            local = path.parent / name
            if match[1] == '"' and local.exists():
                target = local.resolve()
                if ROOT in target.parents and not allowed(component(path), component(target), path):
                    problems.append(f"{path.relative_to(ROOT)}:{line}: {component(path)} may not include "
                                    f"{component(target)} (\"{name}\")")
                edges.add(target)
                continue
            candidates = headers.get(name, [])
            own = [c for c in candidates if component(c) == component(path)]
            fitting = own or [c for c in candidates if allowed(component(path), component(c), path)]
            if not candidates:
                is_kernel = component(path).startswith("kernel")
                is_known = name in FREESTANDING or name == GENERATED or match[1] == '"' and is_test(path) or (
                    name in GENERATED_KERNEL if is_kernel else GENERATED_USER.fullmatch(name)) or name.startswith(
                    ("lwip/", "netif/", "arch/")) and component(path) == "services/netd" or component(path) in (
                    "services/posixd", "tests/linux") and name.startswith("linux/")    # the personality's
                if not is_known:
                    problems.append(f"{path.relative_to(ROOT)}:{line}: <{name}> is neither freestanding nor one of ours")
            elif not fitting and name not in CONTRACT_OF_ARCH:
                problems.append(f"{path.relative_to(ROOT)}:{line}: {component(path)} may not include "
                                f"{component(candidates[0])} (<{name}>)")
            elif len(fitting) == 1:
                edges.add(fitting[0])
    problems += cycles(graph)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def cycles(graph):
    """Every include cycle, once. arch.h and the headers that it includes last (arch/frame.h, arch/impl.h) are one contract."""
    found, done = [], set()

    def visit(path, trail):
        if path in trail:
            circle = trail[trail.index(path):] + [path]
            names = [str(p.relative_to(ROOT)) for p in circle]
            found.append("include cycle: " + " -> ".join(names))
            return
        if path in done:
            return
        for target in sorted(graph.get(path, ())):
            visit(target, trail + [path])
        done.add(path)

    for path in sorted(graph):
        visit(path, [])
    return found


if __name__ == "__main__":
    sys.exit(main())
