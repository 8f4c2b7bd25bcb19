"""Results of tests: lines while they come, a summary, JUnit XML."""
import sys
import threading
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"


@dataclass
class Result:
    suite: str
    name: str
    outcome: str
    seconds: float
    text: str = ""     # why it failed or was skipped
    notes: str = ""    # figures


class Report:
    def __init__(self):
        self.results = []
        self.lock = threading.Lock()
        self.start = time.monotonic()

    def step(self, text):
        print(f"\n== {text}", flush=True)

    def add(self, suite, name, outcome, seconds, text="", notes="", is_quiet=False):
        with self.lock:
            self.results.append(Result(suite, name, outcome, seconds, text, notes))
            if is_quiet:
                return
            line = f"  {outcome:7} {suite}: {name} ({seconds:.1f} s){'  ' + notes if notes else ''}"
            if outcome == SKIPPED:
                line += f"  {text}"
            print(line, flush=True)
            if outcome == FAILED:
                print("\n".join("      " + part for part in text.splitlines()[-40:]), flush=True)

    def run(self, suite, name, function):
        """Runs a function that gives None, or a text that says what is wrong, or raises."""
        begin = time.monotonic()
        try:
            problem = function()
        except SystemExit as end:
            problem = str(end.code) if end.code not in (0, None) else None
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        self.add(suite, name, FAILED if problem else PASSED, time.monotonic() - begin, problem or "")
        return not problem

    def count(self, outcome):
        return sum(r.outcome == outcome for r in self.results)

    def write_junit(self, path):
        root = xml.Element("testsuites", tests=str(len(self.results)), failures=str(self.count(FAILED)))
        for suite in sorted({r.suite for r in self.results}):
            mine = [r for r in self.results if r.suite == suite]
            node = xml.SubElement(root, "testsuite", name=suite, tests=str(len(mine)),
                                  failures=str(sum(r.outcome == FAILED for r in mine)),
                                  skipped=str(sum(r.outcome == SKIPPED for r in mine)), time=f"{sum(r.seconds for r in mine):.3f}")
            for r in mine:
                case = xml.SubElement(node, "testcase", classname=suite, name=r.name, time=f"{r.seconds:.3f}")
                if r.outcome == FAILED:
                    xml.SubElement(case, "failure", message=r.text.splitlines()[0] if r.text else "").text = printable(r.text)
                elif r.outcome == SKIPPED:
                    xml.SubElement(case, "skipped", message=r.text)
                if r.notes:
                    xml.SubElement(case, "system-out").text = printable(r.notes)
        path.parent.mkdir(parents=True, exist_ok=True)
        xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)

    def finish(self, junit):
        """Prints the summary; gives the exit code."""
        self.write_junit(junit)
        failed = [r for r in self.results if r.outcome == FAILED]
        print(f"\n== Summary ({time.monotonic() - self.start:.0f} s, details in {junit})")
        for r in failed:
            print(f"  FAILED  {r.suite}: {r.name}: {r.text.splitlines()[0] if r.text else ''}")
        skipped = self.count(SKIPPED)
        if skipped:
            print(f"  {skipped} skipped")
        print(f"{self.count(PASSED)} passed, {len(failed)} failed", flush=True)
        sys.stdout.flush()
        return 1 if failed or not self.results else 0


def printable(text):
    """XML 1.0 refuses most control characters."""
    return "".join(c if c in "\n\t" or c.isprintable() else "?" for c in text)
