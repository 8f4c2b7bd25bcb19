#!/usr/bin/env python3
"""The compact symbol table with which the kernel and init name the addresses of a backtrace.

Layout, little-endian: u32 count, then count times {u32 offset from the image's base, u32 name offset from the start of the
table}, sorted by offset, then the names, each ended by a zero byte; padded to 8 bytes. Only functions are listed.

symbols.py ELF OUT [--base SYMBOL]     without --base offsets are addresses (position independent programs start at 0)
"""
import argparse
import struct
import subprocess
import sys
from pathlib import Path

NM = "llvm-nm-19"


def functions(elf, base_symbol=None):
    """[(offset, name)] of the ELF file's text symbols, one name per address."""
    text = subprocess.run([NM, "--defined-only", str(elf)], check=True, capture_output=True, text=True).stdout
    symbols = []
    base = 0
    for line in text.splitlines():
        parts = line.split()
        if len(parts) != 3:
            continue
        address, kind, name = int(parts[0], 16), parts[1], parts[2]
        if name == base_symbol:
            base = address
        # "$x", "$d" and ".L..." are markers of the assembler, no functions.
        if kind in "tTwW" and not name.startswith(("$", ".")):
            symbols.append((address, name.partition(".llvm.")[0]))  # what the linker made of a local name
    best = {}
    for address, name in symbols:
        offset = address - base
        if 0 <= offset < 1 << 32 and (offset not in best or (len(name), name) < (len(best[offset]), best[offset])):
            best[offset] = name
    return sorted(best.items())


def table(symbols):
    names = bytearray()
    entries = bytearray()
    start = 4 + 8 * len(symbols)
    seen = {}
    for offset, name in symbols:
        if name not in seen:
            seen[name] = start + len(names)
            names += name.encode() + b"\0"
        entries += struct.pack("<II", offset, seen[name])
    blob = struct.pack("<I", len(symbols)) + entries + names
    return bytes(blob) + bytes(-len(blob) % 8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base")
    args = parser.parse_args()
    args.out.write_bytes(table(functions(args.elf, args.base)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
