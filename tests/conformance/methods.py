#!/usr/bin/env python3
"""Writes the table of all kernel methods for the generic conformance tests: methods.py abi.json methods.c"""
import json
import sys


def argument(arg, word):
    kind, right, object_type = "ARGUMENT_OTHER", "0", "OBJECT_NONE"
    if arg["type"] in ("u32", "i32"):
        kind = f"ARGUMENT_{arg['type'].upper()}"
    elif arg["type"].startswith("handle<"):
        kind = "ARGUMENT_HANDLE"
        name, _, rights = arg["type"][len("handle<"):-1].partition(":")
        object_type = f"OBJECT_{name.upper()}"
        right = " | ".join(f"RIGHT_{r.upper()}" if r in GENERIC else f"{name.upper()}_RIGHT_{r.upper()}" for r in rights.split("+"))
    return f"{{{kind}, {word}, {object_type}, {right}}}"


def row(interface, method):
    arguments, word = [], 0
    for arg in method["in"]:
        arguments.append(argument(arg, word))
        word += arg["words"]
    gives = any(arg["type"] == "new_handle" for arg in method["out"])
    flags = [str(bool(flag)).lower() for flag in (method["blocking"], method["raw"], gives)]
    return (f'    {{"{interface["name"]}.{method["name"]}", {interface["id"]}, {method["id"]}, {method["right_mask"]:#x}, '
            f'{method["in_words"]}, {len(arguments)}, {", ".join(flags)}, {{{", ".join(arguments)}}}}},')


def main():
    global GENERIC
    abi = json.load(open(sys.argv[1], encoding="utf-8"))
    GENERIC = {name[len("RIGHT_"):].lower() for name in abi["constants"] if name.startswith("RIGHT_")}
    rows = [row(i, m) for i in abi["interfaces"] if i["kind"] == "kernel" for m in i["methods"]]
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write("/* Made by tests/conformance/methods.py from abi/. */\n#include <conformance.h>\n\nconst struct method methods[] = {\n")
        out.write("\n".join(rows))
        out.write("\n};\nconst uint32_t method_count = sizeof(methods) / sizeof(methods[0]);\n")


if __name__ == "__main__":
    main()
