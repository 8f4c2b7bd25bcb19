#!/usr/bin/env python3
"""Links what Meson compiled: the clang driver cannot link for a target without an operating system.

link.py kernel  --out kernel.debug --elf kernel.elf --bin kernel.bin --script X.ld --cc '["clang-19", ...]' LIBRARY...
    Links with an embedded table of its own symbols (kernel_symbols_start .. kernel_symbols_end, see symbols.py). The table's
    size depends on the symbols and their addresses on its size, so: link with an empty table to learn the names, with one of
    the right size to learn the addresses, then with the true one, and check that nothing moved. The kernel is compiled with link
    time optimisation (ThinLTO): the first link compiles, the others find its objects in the cache.
link.py program --out X.debug --elf X --symbols X.sym MAIN_LIBRARY LIBRARY...
    A static position independent program: text, constants and data in segments of their own pages.
link.py image   --out X.debug --bin X.bin --script X.ld LIBRARY...
    Code for one fixed address, as the bytes that lie there.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import symbols

LD = "ld.lld-19"
OBJCOPY = "llvm-objcopy-19"
PAGE = 4096
COMMON = ["--gc-sections", "--build-id=none", "-z", f"max-page-size={PAGE}", "-z", "norelro", "-z", "noexecstack",
          "--fatal-warnings", "--no-undefined"]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        sys.exit(done.returncode)


def whole(library):
    return ["--whole-archive", str(library), "--no-whole-archive"]


def assemble_table(cc, blob, folder):
    blob_file, source, output = folder / "symbols.bin", folder / "symbols.S", folder / "symbols.o"
    blob_file.write_bytes(blob)
    source.write_text('.section .rodata.kernel_symbols, "a"\n.balign 8\n'
                      ".globl kernel_symbols_start, kernel_symbols_end\n"
                      f'kernel_symbols_start:\n.incbin "{blob_file}"\nkernel_symbols_end:\n')
    run(*cc, "-c", source, "-o", output)
    return output


def link_kernel(args):
    cc = json.loads(args.cc)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def link(blob, out):
            run(LD, "-T", args.script, *COMMON, "-static", "-mllvm", f"-inline-threshold={args.inline_threshold}", f"--thinlto-cache-dir={args.out}.cache", "-o", out, *whole(args.library[0]), *args.library[1:],
                assemble_table(cc, blob, folder))
            return symbols.table(symbols.functions(out, "kernel_image_start"))

        sized = link(bytes(8), folder / "first")
        true = link(bytes(len(sized)), folder / "second")
        if len(true) != len(sized):
            sys.exit("link.py: the symbol table's size depends on its place")
        if link(true, args.out) != true:
            sys.exit("link.py: symbols moved between two links of the same size")
    run(OBJCOPY, "--strip-all", args.out, args.elf)
    run(OBJCOPY, "-O", "binary", args.out, args.bin)


def link_program(args):
    run(LD, *COMMON, "-pie", "--no-dynamic-linker", "-Bsymbolic", "-z", "text", "-z", "separate-loadable-segments",
        "--hash-style=sysv", "-o", args.out, *whole(args.library[0]), "--start-group", *args.library[1:], "--end-group")
    run(OBJCOPY, "--strip-all", args.out, args.elf)
    args.symbols.write_bytes(symbols.table(symbols.functions(args.out)))


def link_image(args):
    run(LD, *COMMON, "-static", "-T", args.script, "-o", args.out, *whole(args.library[0]), *args.library[1:])
    run(OBJCOPY, "-O", "binary", args.out, args.bin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["kernel", "program", "image"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--elf", type=Path)
    parser.add_argument("--bin", type=Path)
    parser.add_argument("--symbols", type=Path)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--inline-threshold", type=int, default=225)
    parser.add_argument("--cc")
    parser.add_argument("library", nargs="+")
    args = parser.parse_args()
    {"kernel": link_kernel, "program": link_program, "image": link_image}[args.kind](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
