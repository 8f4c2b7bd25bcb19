"""abi.json (decoders, fuzzers), manifest-schema.json (image builder), docs/*.md (people)."""
import json

from emit_abi import one_line, op_value
from emit_golden import abi_hash


def args_data(args):
    return [{"name": a.name, "type": a.spell(), "words": a.words, "text": a.text} for a in args]


def handles_data(args):
    return [{"name": a.name, "types": a.types, "rights": a.rights, "text": a.text} for a in args]


def method_data(model, i, m):
    return {"name": m.name, "id": m.id, "op": op_value(i, m), "right": m.right, "right_mask": model.right_mask(i, m.right),
            "in": args_data(m.ins), "out": args_data(m.outs), "handles_in": handles_data(m.handles_in),
            "handles_out": handles_data(m.handles_out), "in_words": m.in_words, "out_words": m.out_words, "errors": m.errors,
            "blocking": m.blocking, "idempotent": m.idempotent, "raw": m.raw, "doc": m.doc}


def emit_json(model):
    data = {
        "abi_hash": f"{abi_hash(model):#018x}",
        "errors": {n: v for n, (v, _) in model.errors.items()},
        "constants": {n: v for n, (v, _) in model.constants.items()},
        "structs": [{"name": s.name, "size": s.size, "fields": [
            {"name": f.name, "type": f.type, "count": f.count, "offset": f.offset, "size": f.size} for f in s.fields]}
            for s in model.structs],
        "interfaces": [{"name": i.name, "id": i.id, "kind": "kernel" if i.is_kernel else "service", "doc": i.doc,
                        "rights": {n: b for n, (b, _) in i.rights.items()},
                        "methods": [method_data(model, i, m) for m in i.methods]} for i in model.interfaces],
        "trace_classes": {n: b for n, (b, _) in model.classes.items()},
        "trace_events": [{"name": e.name, "id": e.id, "class": e.class_, "thread": e.thread, "args": [
            {"name": a.name, "type": a.type, "word": a.word, "shift": a.shift, "text": a.text} for a in e.args]}
            for e in model.events],
    }
    return json.dumps(data, indent=1) + "\n"


def emit_schema(model):
    bootstrap = next((s for s in model.structs if s.name == "bootstrap_handle"), None)
    name_bytes = next((f.size for f in bootstrap.fields if f.name == "name"), 0) if bootstrap else 0
    data = {
        "abi_hash": f"{abi_hash(model):#018x}",
        "service_name_bytes": model.constants["NAME_BYTES"][0] if "NAME_BYTES" in model.constants else 16,
        "handle_name_bytes": name_bytes,
        "generic_rights": model.generic_rights(),
        "interfaces": {i.name: {"id": i.id, "kind": "kernel" if i.is_kernel else "service",
                                "rights": {n: 1 << b for n, (b, _) in i.rights.items()}} for i in model.interfaces},
    }
    return json.dumps(data, indent=1) + "\n"


def emit_page(model, i):
    lines = [f"# {i.name}", "", i.doc, "", f"{'Kernel object' if i.is_kernel else 'Service protocol'}, interface {i.id}.", "",
             "| right | bit | |", "|---|---|---|"]
    lines += [f"| {n} | {b} | {one_line(t)} |" for n, (b, t) in i.rights.items()]
    for m in i.methods:
        flags = [f for f in ("blocking", "idempotent", "raw") if getattr(m, f)]
        lines += ["", f"## {i.name}.{m.name}", "",
                  f"Method {m.id}, right `{m.right}`{', ' + ', '.join(flags) if flags else ''}.", ""]
        if m.doc:
            lines += [m.doc, ""]
        for title, args in (("in", m.ins), ("handle in", m.handles_in), ("out", m.outs), ("handle out", m.handles_out)):
            lines += [f"- {title} `{a.name}: {a.spell()}`{' ' + one_line(a.text) if a.text else ''}" for a in args]
        if m.errors:
            lines += ["", "Errors beside those of every call: " + "; ".join(
                f"`{e}` ({one_line(model.errors[e][1])})" for e in m.errors) + "."]
    return "\n".join(lines) + "\n"


def emit_index(model):
    lines = ["# Interfaces", "", "Made by tools/idlc from `abi/`.", "", "| interface | id | |", "|---|---|---|"]
    lines += [f"| [{i.name}]({i.name}.md) | {i.id} | {one_line(i.doc)} |" for i in model.interfaces]
    lines += ["", "What the trace records: [events](trace_events.md).", "", "# Errors", "", "Decided in this order: BAD_HANDLE / STALE_HANDLE, WRONG_TYPE, UNKNOWN_METHOD, MISSING_RIGHT, "
              "BAD_ARGUMENT, the rest.", "", "| error | value | |", "|---|---|---|"]
    lines += [f"| {n} | {v} | {one_line(t)} |" for n, (v, t) in model.errors.items()]
    lines += ["", "# Constants", "", "| constant | value | |", "|---|---|---|"]
    lines += [f"| {n} | {v:#x} | {one_line(t)} |" for n, (v, t) in model.constants.items()]
    lines += ["", "# Records"]
    for s in model.structs:
        lines += ["", f"## {s.name} ({s.size} bytes)", "", one_line(s.doc), "", "| offset | field | type |", "|---|---|---|"]
        lines += [f"| {f.offset} | {f.name} | {f.type}{f'[{f.count}]' if f.count else ''} |" for f in s.fields]
    return "\n".join(lines) + "\n"
