#!/usr/bin/env python3
"""calls.py ARCH calls.toml --header H --table C --page MD: what is made of the list of Linux calls."""
import argparse
import sys
import tomllib
from pathlib import Path

STATES = ("supported", "partial", "refused")


def load(path):
    calls = tomllib.loads(path.read_text())
    numbers = ({}, {})
    for name, call in calls.items():
        if set(call) - {"number", "args", "file", "state", "note"}:
            sys.exit(f"{path}: {name}: unknown key")
        for table, number in zip(numbers, call["number"]):
            if number >= 0 and table.setdefault(number, name) != name:
                sys.exit(f"{path}: {name} has the number of {table[number]}")
        if "file" in call and ("args" not in call or len(call["args"]) > 6 or call.get("state") not in STATES):
            sys.exit(f"{path}: {name}: a call with a file has args and a state, {', '.join(STATES)}")
        if "file" not in call and "state" in call:
            sys.exit(f"{path}: {name}: a state, but no file")
    return calls


def header(calls, column):
    used = {n: c for n, c in calls.items() if c["number"][column] >= 0}
    lines = ["/* Made by tools/calls.py from calls.toml: change that. */", "#pragma once",
             f"#define LINUX_CALL_LIMIT {max(c['number'][column] for c in used.values()) + 1} /* for the entry code, too */",
             "#ifndef __ASSEMBLER__", "#include <stdint.h>", "", "enum : uint32_t {"]
    lines += [f"    LINUX_CALL_{n.upper()} = {c['number'][column]}," for n, c in used.items()] + ["};", ""]
    for name, call in used.items():
        if "file" in call:
            args = ", ".join(f"uint64_t {a}" for a in call["args"]) or "void"
            lines.append(f"int64_t linux_sys_{name}({args}); /* src/{call['file']}.c */")
    # A call that an architecture lacks is a plain function there: others are made of it.
    for name, call in calls.items():
        if "file" in call and name not in used:
            args = ", ".join(f"uint64_t {a}" for a in call["args"]) or "void"
            lines.append(f"int64_t linux_sys_{name}({args}); /* src/{call['file']}.c; not a call of this architecture */")
    return "\n".join(lines + ["#endif"]) + "\n"


def table(calls, column):
    by_number = {c["number"][column]: (n, c) for n, c in calls.items() if c["number"][column] >= 0}
    lines = ["/* Made by tools/calls.py from calls.toml: change that. */", "#include <linux/dispatch.h>", "",
             "const linux_call_function linux_call_table[LINUX_CALL_LIMIT] = {"]
    for number in range(max(by_number) + 1):
        name, call = by_number.get(number, ("", {}))
        lines.append(f"    (linux_call_function){'linux_sys_' + name if 'file' in call else 'linux_call_missing'},")
    lines += ["};", "", "const char *const linux_call_names[LINUX_CALL_LIMIT] = {"]
    lines += [f'    [{number}] = "{by_number[number][0]}",' for number in sorted(by_number)]
    return "\n".join(lines + ["};"]) + "\n"


def page(calls):
    def cell(state):
        return sum(1 for c in calls.values() if c.get("state") == state)

    lines = ["# Linux calls", "", "Made from personality/linux/calls.toml. A call that is not in this table answers ENOSYS and is counted.", "",
             f"{len(calls)} calls known: {cell('supported')} supported, {cell('partial')} partial, {cell('refused')} refused, "
             f"{sum(1 for c in calls.values() if 'state' not in c)} missing.", "",
             "| call | x86_64 | others | state | what of it |", "|---|---|---|---|---|"]
    for name, call in sorted(calls.items()):
        if "state" in call:
            numbers = ["" if n < 0 else str(n) for n in call["number"]]
            lines.append(f"| {name} | {numbers[0]} | {numbers[1]} | {call['state']} | {call.get('note', '')} |")
    lines += ["", "Missing: " + ", ".join(sorted(n for n, c in calls.items() if "state" not in c)) + "."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", choices=["x86_64", "aarch64", "riscv64"])
    parser.add_argument("calls", type=Path)
    for name in ("--header", "--table", "--page"):
        parser.add_argument(name, type=Path, required=True)
    args = parser.parse_args()
    calls = load(args.calls)
    column = 0 if args.arch == "x86_64" else 1
    args.header.parent.mkdir(parents=True, exist_ok=True)
    args.header.write_text(header(calls, column))
    args.table.write_text(table(calls, column))
    args.page.write_text(page(calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
