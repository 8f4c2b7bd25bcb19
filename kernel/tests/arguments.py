#!/usr/bin/env python3
"""arguments.py abi.json: a C table of what each word of each kernel method means, for random calls."""
import json
import re
import sys

KINDS = {"size_bytes": "SIZE", "size": "SIZE", "offset": "OFFSET", "address": "ADDRESS", "physical": "OFFSET", "rights": "RIGHTS",
         "mask": "BITS", "bits": "BITS", "at_ns": "TIME", "pc": "ADDRESS", "sp": "ADDRESS", "tls": "ADDRESS",
         "source": "HANDLE_ANY", "target": "HANDLE_ANY", "object": "HANDLE_ANY", "flags": "FLAGS", "submit": "TINY",
         "min_complete": "TINY", "badge": "BITS", "cursor": "SMALL", "sq_entries": "POWER", "cq_entries": "POWER",
         "how": "SMALL"}


def kind(interface, argument):
    match = re.match(r"handle<(\w+)", argument["type"])
    if match:
        return f"ARGUMENT_HANDLE | OBJECT_{match[1].upper()} << 8"
    name = argument["name"]
    if interface == "interrupt" or (interface == "machine" and name == "source"):
        return "ARGUMENT_TINY"
    return "ARGUMENT_" + KINDS.get(name, "SMALL")


def main():
    abi = json.load(open(sys.argv[1], encoding="utf-8"))
    print("/* Made by kernel/tests/arguments.py. */")
    print("static const struct method methods[] = {")
    for interface in abi["interfaces"]:
        if interface["kind"] != "kernel":
            continue
        for method in interface["methods"]:
            words = []
            for argument in method["in"]:
                words += [kind(interface["name"], argument)] * argument["words"]
            text = ", ".join(words)
            print(f'    {{"{interface["name"]}.{method["name"]}", OBJECT_{interface["name"].upper()}, {method["id"]}, '
                  f'{method["in_words"]}, {str(method["raw"]).lower()}, {{{text}}}}},')
    print("};")


main()
