"""The golden listing: everything a compiled program depends on, one fact per line, no prose. Its hash is ABI_HASH."""
import hashlib


def golden_text(model):
    lines = ["Tessera ABI"]
    lines += [f"error {name} = {value}" for name, (value, _) in sorted(model.errors.items(), key=lambda e: -e[1][0])]
    lines += [f"constant {name} = {value:#x}" for name, (value, _) in model.constants.items()]
    for s in model.structs:
        lines.append(f"struct {s.name} size {s.size}")
        lines += [f"    {f.offset} {f.name}: {f.type}{f'[{f.count}]' if f.count else ''}" for f in s.fields]
    for i in model.interfaces:
        lines.append(f"{'kernel' if i.is_kernel else 'service'} {i.name} = {i.id}")
        lines += [f"    right {name} = {bit}" for name, (bit, _) in sorted(i.rights.items(), key=lambda r: r[1][0])]
        for m in i.methods:
            flags = "".join(f" {f}" for f in ("blocking", "idempotent", "raw") if getattr(m, f))
            lines.append(f"    method {m.name} = {m.id} right {m.right}{flags}")
            lines += [f"        in {a.name}: {a.spell()}" for a in m.ins]
            lines += [f"        handle in {a.name}: {a.spell()}" for a in m.handles_in]
            lines += [f"        out {a.name}: {a.spell()}" for a in m.outs]
            lines += [f"        handle out {a.name}: {a.spell()}" for a in m.handles_out]
            if m.errors:
                lines.append("        errors " + " ".join(m.errors))
    lines += [f"trace class {name} = {bit}" for name, (bit, _) in model.classes.items()]
    for e in model.events:
        lines.append(f"trace event {e.name} = {e.id} class {e.class_}")
        lines += [f"    {a.name}: {a.type} at {a.word}.{a.shift}" for a in e.args]
    return "\n".join(lines) + "\n"


def abi_hash(model):
    return int.from_bytes(hashlib.sha256(golden_text(model).encode()).digest()[:8], "big")
