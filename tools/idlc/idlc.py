#!/usr/bin/env python3
"""Turns abi/*.toml into headers, stubs, dispatchers, tables and reference pages. Files whose text is unchanged keep their time."""
import argparse
import difflib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import emit_abi  # noqa: E402
import emit_data  # noqa: E402
import emit_golden  # noqa: E402
import emit_kernel  # noqa: E402
import emit_trace  # noqa: E402
import emit_user  # noqa: E402
import model as abi_model  # noqa: E402


def outputs(model):
    """Every generated file: path below --out -> text."""
    files = {
        "tess/abi.h": emit_abi.emit_header(model),
        "tess/abi_names.c": emit_abi.emit_names(model),
        "kernel/abi_dispatch.h": emit_kernel.emit_header(model),
        "kernel/abi_dispatch.c": emit_kernel.emit_source(model),
        "kernel/trace_events.h": emit_trace.emit_header(model),
        "docs/trace_events.md": emit_trace.emit_page(model),
        "abi.json": emit_data.emit_json(model),
        "manifest-schema.json": emit_data.emit_schema(model),
        "docs/reference.md": emit_data.emit_index(model),
    }
    for interface in model.interfaces:
        files[f"tess/stub/{interface.name}.h"] = emit_user.emit_stubs(interface)
        files[f"docs/{interface.name}.md"] = emit_data.emit_page(model, interface)
    for interface in model.service:
        files[f"tess/serve/{interface.name}.h"] = emit_user.emit_serve(interface)
    return files


def write_if_changed(path, text):
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check_golden(path, text):
    old = path.read_text() if path.exists() else ""
    if old == text:
        return True
    diff = difflib.unified_diff(old.splitlines(), text.splitlines(), str(path), "abi/*.toml now", lineterm="")
    print("\n".join(diff), file=sys.stderr)
    print(f"idlc: the ABI differs from {path}; if that is meant: idlc.py --abi abi --update-golden", file=sys.stderr)
    return False


def main(argv):
    parser = argparse.ArgumentParser(prog="idlc", description=__doc__)
    parser.add_argument("--abi", required=True, type=Path, help="folder of the interface files")
    parser.add_argument("--out", type=Path, help="where to write (a build folder)")
    parser.add_argument("--stamp", type=Path, help="file to touch after success (build systems)")
    parser.add_argument("--depfile", type=Path, help="write a dependency file for the stamp")
    parser.add_argument("--list", action="store_true", help="print the generated files' names")
    golden = parser.add_mutually_exclusive_group()
    golden.add_argument("--check-golden", action="store_true", help="fail when abi/golden/abi.txt differs")
    golden.add_argument("--update-golden", action="store_true", help="rewrite abi/golden/abi.txt")
    args = parser.parse_args(argv)
    try:
        model = abi_model.load(args.abi)
    except abi_model.AbiError as error:
        print(f"idlc: {error}", file=sys.stderr)
        return 1
    files = outputs(model)
    if args.list:
        print("\n".join(sorted(files)))
    text, golden_path = emit_golden.golden_text(model), args.abi / "golden" / "abi.txt"
    if args.check_golden and not check_golden(golden_path, text):
        return 1
    if args.update_golden:
        write_if_changed(golden_path, text)
    if args.out:
        for name, content in files.items():
            write_if_changed(args.out / name, content)
    if args.depfile and args.stamp:
        sources = sorted(args.abi.glob("**/*.toml")) + sorted(Path(__file__).resolve().parent.glob("*.py"))
        args.depfile.write_text(f"{args.stamp}: {' '.join(str(s) for s in sources)}\n")
    if args.stamp:
        args.stamp.write_text(f"{emit_golden.abi_hash(model):#018x}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
