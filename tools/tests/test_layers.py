#!/usr/bin/env python3
"""check_layers.py over small trees: what it must name, and what it must not."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import check_layers  # noqa: E402


def check(tree):
    """What check_layers says about these files: {path: text}."""
    old = check_layers.ROOT
    with tempfile.TemporaryDirectory() as name:
        check_layers.ROOT = Path(name).resolve()
        try:
            for path, text in tree.items():
                (check_layers.ROOT / path).parent.mkdir(parents=True, exist_ok=True)
                (check_layers.ROOT / path).write_text(text)
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                check_layers.main()
            return said.getvalue()
        finally:
            check_layers.ROOT = old


class Layers(unittest.TestCase):
    def test_right_directions(self):
        self.assertEqual(check({
            "kernel/include/kernel/a.h": "#include <tess/util.h>\n", "lib/core/include/tess/util.h": "#include <stdint.h>\n",
            "kernel/arch/x86_64/cpu.c": "#include <arch/impl.h>\n#include <kernel/a.h>\n",
            "kernel/arch/x86_64/include/arch/impl.h": "", "kernel/arch/host/include/arch/impl.h": "",
            "services/httpd/src/main.c": "#include <tess/util.h>\n#include <tess/stub/event.h>\n"}), "")

    def test_wrong_directions(self):
        said = check({"kernel/include/kernel/a.h": "", "lib/core/src/a.c": "\n\n#include <kernel/a.h>\n",
                           "services/netd/include/netd/a.h": "", "services/httpd/src/a.c": "#include <netd/a.h>\n",
                           "tests/guest/src/a.c": "#include <kernel/a.h>\n#include <stdio.h>\n",
                           "kernel/ipc/a.c": "#include <tess/stub/event.h>\n"})
        self.assertIn("lib/core/src/a.c:3: lib/core may not include kernel (<kernel/a.h>)", said)
        self.assertIn("services/httpd may not include services/netd", said)
        self.assertIn("tests/guest may not include kernel (<kernel/a.h>)", said)
        self.assertIn("tests/guest/src/a.c:2: <stdio.h> is neither", said)
        self.assertIn("<tess/stub/event.h> is neither", said)
        self.assertEqual(said.count("\n"), 5)

    def test_c_library_of_the_build_machine(self):
        """netd has a stdio.h for lwIP: nobody else's, and not even its own host tests'."""
        self.assertEqual(check({
            "services/netd/lwip-port/include/stdio.h": "", "kernel/arch/host/host.c": "#include <stdio.h>\n",
            "services/netd/src/a.c": "#include <stdio.h>\n", "services/netd/test/a.c": "#include <stdio.h>\n"}), "")
        self.assertIn("services/httpd may not include services/netd (<stdio.h>)", check({
            "services/netd/lwip-port/include/stdio.h": "", "services/httpd/src/a.c": "#include <stdio.h>\n"}))

    def test_cycle(self):
        said = check({"lib/core/include/tess/a.h": "#include <tess/b.h>\n", "lib/core/include/tess/b.h": "#include <tess/a.h>\n"})
        self.assertEqual(said.count("include cycle"), 1)


if __name__ == "__main__":
    unittest.main()
