"""Line numbers for TOML: tomllib gives values without places, so this finds the line of every key.

The text has already been accepted by tomllib, so the scanner may be simple: it follows table headers, keys at the start of
a line, and skips strings, comments and whatever lies inside brackets."""
import re

HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""", re.S)
STRING = re.compile(r'"""(?:\\.|[^\\])*?"""|' r"'''.*?'''|" r'"(?:\\.|[^"\\])*"|' r"'[^']*'", re.S)


def split_key(text):
    return [part.strip().strip("\"'") for part in re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", text)]


def bare(line):
    """The line without strings and comment."""
    return STRING.sub('""', line).split("#")[0]


def find_lines(text):
    """{path: line}, path = tuple of keys and, for arrays of tables, indices; tables have the line of their header."""
    lines = {(): 1}
    counts = {}
    prefix = ()
    depth = 0
    multiline = None
    for number, line in enumerate(text.splitlines(), 1):
        if multiline:
            if multiline in line:
                line = line.split(multiline, 1)[1]
                multiline = None
            else:
                continue
        elif depth == 0:
            header, key = HEADER.match(line), KEY.match(line)
            if header:
                prefix = resolve(split_key(header[2]), counts, header[1] == "[[")
                if isinstance(prefix[-1], int):
                    lines.setdefault(prefix[:-1], number)
                lines.setdefault(prefix, number)
                continue
            if key:
                path = prefix + tuple(split_key(key[1]))
                for end in range(len(prefix) + 1, len(path) + 1):
                    lines.setdefault(path[:end], number)
                line = key[2]
        rest = bare(line)
        for quote in ('"""', "'''"):
            if rest.replace('""', "", 0).count(quote) % 2 == 1:
                multiline = quote
                rest = rest.split(quote)[0]
        depth = max(0, depth + rest.count("[") + rest.count("{") - rest.count("]") - rest.count("}"))
    return lines


def resolve(keys, counts, is_array):
    """The path of a table header: arrays of tables get the index of their present element."""
    path = ()
    for position, key in enumerate(keys):
        path += (key,)
        if position == len(keys) - 1 and is_array:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def line_of(lines, path):
    """The line of the path, or of the nearest thing round it."""
    path = tuple(path)
    while path not in lines:
        path = path[:-1]
    return lines[path]
