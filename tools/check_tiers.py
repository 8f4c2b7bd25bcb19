#!/usr/bin/env python3
"""Library tiers: lib/core has no undefined symbols, lib/alloc none but core's. Fails with the symbols that break it.

check_tiers.py --core libcore.a --alloc liballoc.a [--out REPORT]"""
import argparse
import subprocess
import sys
from pathlib import Path

NM = "llvm-nm-19"


def symbols(library, kind):
    """Names the archive's members define or leave undefined."""
    done = subprocess.run([NM, f"--{kind}-only", "--extern-only" if kind == "defined" else "--no-sort", "--format=just-symbols",
                           str(library)], capture_output=True, text=True, check=True)
    return {line.strip() for line in done.stdout.splitlines() if line.strip() and not line.endswith(":")}


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=Path, required=True)
    parser.add_argument("--alloc", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    allowed, lines, failed = {"__stack_chk_guard", "__stack_chk_fail"}, [], False  # the compiler's own, of whatever they are linked into
    for tier, library in (("core", args.core), ("alloc", args.alloc)):
        defined = symbols(library, "defined")
        if not defined:
            print(f"check_tiers: {library} defines nothing", file=sys.stderr)
            return 1
        allowed |= defined
        wrong = sorted(symbols(library, "undefined") - allowed)
        lines.append(f"{tier}: {'ok' if not wrong else 'needs what its tier may not: ' + ', '.join(wrong)}")
        failed |= bool(wrong)
    text = "\n".join(lines) + "\n"
    if failed:
        print("check_tiers: " + text, file=sys.stderr, end="")
        return 1
    if args.out:
        args.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
