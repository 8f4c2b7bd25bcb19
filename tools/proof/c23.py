"""C23 as Clang preprocesses it, into the C that CBMC 6.6 reads. What is written differently:

    constexpr T N = e;     each later N in its scope becomes ((T)(e)); of a structure: static const
    nullptr                ((void *)0)
    [[attribute]]          left out
    _Atomic, _Thread_local left out: the proofs are sequential, and the atomic functions are the harness's macros
    1'000                  1000

Nothing else is changed: line markers stay, so that CBMC reports the places of the real files."""
import re

TOKEN = re.compile(r'''(?P<marker>^\#.*$)|(?P<text>"(?:\\.|[^"\\\n])*"|(?<![0-9a-zA-Z])'(?:\\.|[^'\\\n])+')
    |(?P<number>\b[0-9](?:'?[0-9a-zA-Z.])*)|(?P<name>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<other>->|\[\[|\]\]|.)''', re.X | re.M)


def tokens(source):
    return [(match.lastgroup, match.group()) for match in TOKEN.finditer(source)]


def end_of_attribute(items, at):
    """The index behind the ]] that ends the attribute whose [[ is at `at`. `]]` may also be two tokens' end inside it."""
    depth = 0
    while True:
        depth += {"[[": 2, "[": 1, "]]": -2, "]": -1}.get(items[at][1], 0)
        at += 1
        if depth == 0:
            return at


def split_at(items, separator):
    """Parts between separators that stand outside all brackets."""
    parts, depth = [[]], 0
    for item in items:
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(item[1], 0)
        if item[1] == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def translate(source, constants_of=None):
    """`constants_of` gives constants of another value than the source does: smaller tables, which the proof then is about."""
    items, out, at = tokens(source), [], 0
    constants = [{}]    # one table for each open brace

    def find(name):
        for table in reversed(constants):
            if name in table:
                return table[name]
        return None

    def rewrite(part):
        """The text of tokens that hold no declaration."""
        text, previous = [], ""
        for kind, value in part:
            if kind == "number":
                value = value.replace("'", "")
            elif kind == "name" and value == "nullptr":
                value = "((void *)0)"
            elif kind == "name" and value in ("_Atomic", "_Thread_local"):
                value = ""
            elif kind == "name" and previous not in (".", "->"):
                value = find(value) or value
            if kind != "space":
                previous = value
            text.append(value)
        return "".join(text)

    start = 0
    while at < len(items):
        kind, value = items[at]
        if kind == "name" and value == "constexpr":
            out.append(rewrite(items[start:at]))
            end = at
            while items[end][1] != ";":
                end += 1
            declarators = split_at(items[at + 1:end], ",")
            head, _, first = [split_at(declarators[0], "=")[0], None, split_at(declarators[0], "=")[1]]
            names = [t for t in head if t[0] != "space"]
            base = rewrite([t for t in head if t is not names[-1]]).strip()
            pairs = [(names[-1][1], first)]
            for declarator in declarators[1:]:
                left, right = split_at(declarator, "=")
                pairs.append(([t[1] for t in left if t[0] == "name"][0], right))
            for name, expression in pairs:
                text = str((constants_of or {}).get(name, rewrite(expression).strip()))
                if text.startswith("{"):
                    out.append(f"static const {base} {name} = {text};")
                else:
                    constants[-1][name] = f"(({base})({text}))"
            # Line numbers stay right.
            out.append("\n" * sum(t[1].count("\n") for t in items[at:end + 1]))
            at = start = end + 1
            continue
        if value == "[[":
            out.append(rewrite(items[start:at]))
            at = start = end_of_attribute(items, at)
            continue
        if value == "{":
            out.append(rewrite(items[start:at + 1]))
            start = at + 1
            constants.append({})
        elif value == "}":
            out.append(rewrite(items[start:at + 1]))
            start = at + 1
            constants.pop()
        at += 1
    out.append(rewrite(items[start:]))
    return "".join(out)
