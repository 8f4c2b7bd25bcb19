#!/usr/bin/env python3
"""Called when the build is configured: generate_abi.py ABI_DIR OUT_DIR FILE...; the files are listed so that Meson knows what
the result depends on. Refuses when an interface file exists that the list lacks."""
import subprocess
import sys
from pathlib import Path


def main():
    abi, out = Path(sys.argv[1]), Path(sys.argv[2])
    listed = {Path(f).resolve() for f in sys.argv[3:]}
    missing = [f for f in sorted(abi.rglob("*.toml")) if f.resolve() not in listed]
    if missing:
        sys.exit("\n".join(f"{f}: not listed in abi/meson.build" for f in missing))
    idlc = Path(__file__).resolve().parent.parent / "idlc" / "idlc.py"
    return subprocess.run([sys.executable, "-B", str(idlc), "--abi", str(abi), "--out", str(out)]).returncode


if __name__ == "__main__":
    sys.exit(main())
