"""Host tests of idlc: the golden listing, and one test for every refusal. Run: python3 -m unittest tools/idlc/test_idlc.py"""
import contextlib
import io
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import emit_golden  # noqa: E402
import idlc  # noqa: E402
import model as abi_model  # noqa: E402

ABI = Path(__file__).resolve().parents[2] / "abi"

KERNEL = '''name = "thing"
id = 1
doc = "A thing."
[rights]
use = [8, ""]
[method.poke]
id = 1
right = "use"
in = ["value: u32  small"]
out = ["answer: u64"]
errors = ["NO_MEMORY"]
'''
SERVICE = '''name = "helper"
id = 32
doc = "A helper."
[rights]
ask = [8, ""]
[method.ask]
id = 1
right = "ask"
in = ["value: u64"]
handles_in = ["object: thing:use"]
'''


class Golden(unittest.TestCase):
    def test_listing_is_the_committed_one(self):
        text = emit_golden.golden_text(abi_model.load(ABI))
        self.assertEqual((ABI / "golden" / "abi.txt").read_text(), text,
                         "the ABI changed; if meant: python3 tools/idlc/idlc.py --abi abi --update-golden")

    def test_check_mode_fails_on_a_difference(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ABI, Path(folder) / "abi")
            args = ["--abi", f"{folder}/abi", "--check-golden"]
            self.assertEqual(idlc.main(args), 0)
            path = Path(folder) / "abi" / "kernel" / "event.toml"
            path.write_text(path.read_text().replace("signal = [8,", "signal = [12,"))
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                self.assertEqual(idlc.main(args), 1)
            self.assertIn("right signal = 12", errors.getvalue())

    def test_prose_does_not_change_the_hash(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ABI, Path(folder) / "abi")
            path = Path(folder) / "abi" / "kernel" / "event.toml"
            path.write_text(path.read_text().replace("64 signal bits.", "Sixty-four signal bits."))
            self.assertEqual(emit_golden.abi_hash(abi_model.load(ABI)), emit_golden.abi_hash(abi_model.load(f"{folder}/abi")))

    def test_output_is_stable_and_rewritten_only_when_changed(self):
        with tempfile.TemporaryDirectory() as folder:
            args = ["--abi", str(ABI), "--out", folder]
            self.assertEqual(idlc.main(args), 0)
            before = {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*.*")}
            self.assertEqual(idlc.main(args), 0)
            self.assertEqual(before, {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*.*")})


class Refusals(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        (self.root / "kernel").mkdir()
        (self.root / "service").mkdir()
        for name in ("errors.toml", "types.toml"):
            shutil.copy(ABI / name, self.root / name)
        self.write(KERNEL, SERVICE)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, kernel, service=SERVICE):
        (self.root / "kernel" / "thing.toml").write_text(kernel)
        (self.root / "service" / "helper.toml").write_text(service)

    def refused(self, *texts):
        with self.assertRaises(abi_model.AbiError) as caught:
            abi_model.load(self.root)
        for text in texts:
            self.assertIn(text, str(caught.exception))

    def kernel(self, old, new, *texts):
        self.assertIn(old, KERNEL)
        self.write(KERNEL.replace(old, new))
        self.refused("kernel/thing.toml", *texts)

    def service(self, old, new, *texts):
        self.assertIn(old, SERVICE)
        self.write(KERNEL, SERVICE.replace(old, new))
        self.refused("service/helper.toml", *texts)

    def types(self, text, *texts):
        path = self.root / "types.toml"
        path.write_text(path.read_text() + text)
        self.refused("types.toml", *texts)

    def test_the_base_is_accepted(self):
        model = abi_model.load(self.root)
        self.assertEqual([i.name for i in model.interfaces], ["thing", "helper"])
        self.assertTrue(idlc.outputs(model))

    def test_not_toml(self):
        self.write("name = ")
        self.refused("kernel/thing.toml", "not TOML")

    def test_missing_file(self):
        (self.root / "errors.toml").unlink()
        self.refused("errors.toml", "cannot be read")

    def test_no_kernel_interface(self):
        (self.root / "kernel" / "thing.toml").unlink()
        (self.root / "service" / "helper.toml").unlink()
        self.refused("no interface")

    def test_unknown_key_in_interface(self):
        self.kernel('doc = "A thing."', 'doc = "A thing."\ncolour = 1', "colour", "unknown key")

    def test_unknown_key_in_method(self):
        self.kernel('right = "use"', 'right = "use"\nwright = 1', "method.poke.wright", "unknown key")

    def test_missing_key(self):
        self.kernel("id = 1\ndoc", "doc", "id", "missing key")

    def test_missing_method_id(self):
        self.kernel('[method.poke]\nid = 1', "[method.poke]", "method.poke.id", "missing key")

    def test_name_is_not_the_files(self):
        self.kernel('"thing"', '"other"', "name")

    def test_kernel_id_out_of_range(self):
        self.kernel("id = 1\ndoc", "id = 32\ndoc", "1..31")

    def test_service_id_out_of_range(self):
        self.service("id = 32", "id = 31", "32..255")

    def test_duplicate_interface_id(self):
        (self.root / "kernel" / "twin.toml").write_text(KERNEL.replace('"thing"', '"twin"'))
        self.refused("twin.toml", "id: 1 is already that of")

    def test_duplicate_interface_name(self):
        (self.root / "service" / "thing.toml").write_text(SERVICE.replace('"helper"', '"thing"').replace("id = 32", "id = 33"))
        self.refused("service/thing.toml", "name: thing is already that of")

    def test_right_bit_below_8(self):
        self.kernel("use = [8,", "use = [7,", "rights.use", "8..31")

    def test_right_bit_above_31(self):
        self.kernel("use = [8,", "use = [32,", "rights.use", "8..31")

    def test_duplicate_right_bit(self):
        self.kernel('use = [8, ""]', 'use = [8, ""]\nlook = [8, ""]', "rights.look", "already")

    def test_right_named_like_a_generic_one(self):
        self.kernel('use = [8, ""]', 'use = [8, ""]\ncopy = [9, ""]', "rights.copy", "generic")

    def test_right_is_no_pair(self):
        self.kernel('use = [8, ""]', "use = 8", "rights.use", "[number, text]")

    def test_unknown_right(self):
        self.kernel('right = "use"', 'right = "fly"', "method.poke.right", "unknown right fly")

    def test_unknown_error(self):
        self.kernel('"NO_MEMORY"', '"NO_TEA"', "method.poke.errors", "NO_TEA")

    def test_error_listed_twice(self):
        self.kernel('"NO_MEMORY"', '"NO_MEMORY", "NO_MEMORY"', "method.poke.errors", "twice")

    def test_unknown_type(self):
        self.kernel("value: u32", "value: u33", "method.poke.in.value", "unknown type u33")

    def test_unknown_handle_type(self):
        self.kernel("value: u32", "value: handle<teapot>", "method.poke.in.value", "unknown type teapot")

    def test_service_type_in_kernel_handle(self):
        self.kernel("value: u32", "value: handle<helper>", "method.poke.in.value", "unknown type helper")

    def test_unknown_right_of_handle(self):
        self.kernel("value: u32", "value: handle<thing:fly>", "method.poke.in.value", "no right fly")

    def test_new_handle_as_input(self):
        self.kernel("value: u32", "value: new_handle", "method.poke.in.value", "cannot stand here")

    def test_argument_without_type(self):
        self.kernel("value: u32  small", "value", "method.poke.in", "is not")

    def test_text_after_one_blank(self):
        self.kernel("value: u32  small", "value: u32 small", "method.poke.in", "two blanks")

    def test_reserved_argument_name(self):
        self.kernel("value: u32", "register: u32", "method.poke.in.register", "reserved")

    def test_duplicate_argument(self):
        self.kernel('"value: u32  small"', '"value: u32", "value: u32"', "method.poke.in.value", "duplicate")

    def test_bytes_not_of_words(self):
        self.kernel("value: u32", "value: bytes[12]", "method.poke.in.value", "multiple of 8")

    def test_too_many_words(self):
        self.kernel("value: u32", "value: bytes[104]", "method.poke.in", "13 words, at most 12")

    def test_too_many_words_beside_handles(self):
        self.service("value: u64", "value: bytes[72]", "method.ask.in", "9 words, at most 8")

    def test_too_many_handles(self):
        handles = ", ".join(f'"object{n}: any"' for n in range(5))
        self.service('"object: thing:use"', handles, "method.ask.handles_in", "at most 4")

    def test_unknown_transferred_type(self):
        self.service("object: thing:use", "object: teapot", "method.ask.handles_in.object", "unknown type teapot")

    def test_unknown_transferred_right(self):
        self.service("object: thing:use", "object: thing:fly", "method.ask.handles_in.object", "no right fly")

    def test_handle_named_like_an_argument(self):
        self.service("object: thing:use", "value: thing:use", "method.ask", "same name")

    def test_kernel_method_with_transfer(self):
        self.kernel('right = "use"', 'right = "use"\nhandles_in = ["object: any"]', "method.poke", "transfer no handles")

    def test_service_method_blocking(self):
        self.service('right = "ask"', 'right = "ask"\nblocking = true', "method.ask", "for kernel methods")

    def test_raw_method_with_arguments(self):
        self.kernel('right = "use"', 'right = "use"\nraw = true', "method.poke", "decoded by hand")

    def test_flag_is_no_bool(self):
        self.kernel('right = "use"', 'right = "use"\nblocking = 1', "method.poke.blocking", "bool")

    def test_method_id_out_of_range(self):
        self.kernel("[method.poke]\nid = 1", "[method.poke]\nid = 256", "method.poke.id", "1..255")

    def test_duplicate_method_id(self):
        self.write(KERNEL + '[method.prod]\nid = 1\nright = "use"\n')
        self.refused("thing.toml", "method.prod.id", "already that of poke")

    def test_method_name_case(self):
        self.kernel("[method.poke]", "[method.Poke]", "method.Poke", "lower case")

    def test_no_methods(self):
        self.write(re.sub(r"\[method.*", "[method]\n", KERNEL, flags=re.S))
        self.refused("thing.toml", "no method")

    def trace(self, event, key, text):
        (self.root / "trace.toml").write_text('[class]\nsched = [0, ""]\n[event.switch]\nid = 1\nclass = "sched"\nthread = "who"\n' + event)
        self.refused("trace.toml", key, text)

    def test_event_that_does_not_fit(self):
        self.trace('args = ["a: u64", "b: u32", "c: u64"]\n', "event.switch.args.c", "does not fit")

    def test_event_argument_type(self):
        self.trace('args = ["a: u16"]\n', "event.switch.args.a", "unknown type")

    def test_event_class(self):
        self.trace('args = []\n[event.other]\nid = 2\nclass = "life"\nthread = ""\nargs = []\n', "event.other.class", "unknown class")

    def test_duplicate_event(self):
        self.trace('args = []\n[event.other]\nid = 1\nclass = "sched"\nthread = ""\nargs = []\n', "event.other.id", "already that of switch")

    def test_event_key(self):
        self.trace('args = []\ncolour = 1\n', "event.switch.colour", "unknown key")

    def test_duplicate_error_value(self):
        path = self.root / "errors.toml"
        path.write_text(path.read_text() + 'LATE = [-1, ""]\n')
        self.refused("errors.toml", "error.LATE", "already that of BAD_HANDLE")

    def test_positive_error(self):
        path = self.root / "errors.toml"
        path.write_text(path.read_text() + 'FINE = [1, ""]\n')
        self.refused("errors.toml", "error.FINE", "negative")

    def test_constant_too_wide(self):
        path = self.root / "types.toml"
        path.write_text(path.read_text().replace("[constants]", '[constants]\nWIDE = [-1, ""]'))
        self.refused("types.toml", "constants.WIDE", "64 bits")

    def test_other_envelope(self):
        path = self.root / "types.toml"
        path.write_text(path.read_text().replace("= [12,", "= [14,"))
        self.refused("types.toml", "constants.MESSAGE_WORDS", "must be 12")

    def test_hole_in_record(self):
        self.types('[struct.gap]\ndoc = ""\nfields = ["a: u32", "b: u64"]\n', "struct.gap.b", "hole")

    def test_hole_at_end_of_record(self):
        self.types('[struct.gap]\ndoc = ""\nfields = ["a: u64", "b: u32"]\n', "struct.gap", "hole at the end")

    def test_unknown_field_type(self):
        self.types('[struct.gap]\ndoc = ""\nfields = ["a: f64"]\n', "struct.gap.a", "unknown type f64")

    def test_duplicate_field(self):
        self.types('[struct.gap]\ndoc = ""\nfields = ["a: u64", "a: u64"]\n', "struct.gap.a", "duplicate")

    def test_bad_field(self):
        self.types('[struct.gap]\ndoc = ""\nfields = ["a u64"]\n', "struct.gap.fields", "is not")

    def test_unknown_key_in_record(self):
        self.types('[struct.gap]\ndoc = ""\npacked = true\nfields = ["a: u64"]\n', "struct.gap.packed", "unknown key")


if __name__ == "__main__":
    unittest.main()
