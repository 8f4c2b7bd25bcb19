#!/usr/bin/env python3
"""pack.py --out ARCHIVE FILE...: the files below a folder www/ as one CPIO archive, under names that begin with www/."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tools"))
from image import cpio


def main():
    if len(sys.argv) < 4 or sys.argv[1] != "--out":
        sys.exit(__doc__)
    files = {}
    for name in sys.argv[3:]:
        path = Path(name).resolve()
        files["www/" + str(path).rpartition("/www/")[2]] = path.read_bytes()
    Path(sys.argv[2]).write_bytes(cpio.archive(files, align=4))


if __name__ == "__main__":
    main()
