#!/usr/bin/env python3
"""Writes what well-formed calls look like: shapes.py abi.json shapes.c"""
import json
import sys


def main():
    abi = json.load(open(sys.argv[1], encoding="utf-8"))
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write("/* Made by tests/hostile/shapes.py from abi/. */\n#include <hostile.h>\n\nconst uint64_t shapes[] = {\n")
        for interface in abi["interfaces"]:
            for method in interface["methods"]:
                out.write(f"    {method['op']:#x}, /* {interface['name']}.{method['name']} */\n")
        out.write("};\nconst uint32_t shape_count = sizeof(shapes) / sizeof(shapes[0]);\n")


if __name__ == "__main__":
    main()
