"""The boot image: a "newc" CPIO archive (cpio(5)) whose file data starts on page boundaries, so that a file can be mapped.

The same input gives the same bytes: names sorted, times, owners and inode numbers fixed. Alignment comes from zero bytes
behind the name, which the format allows (the name ends at its first zero byte)."""

PAGE = 4096
HEADER_BYTES = 110
TRAILER = "TRAILER!!!"
MODE_FILE = 0o100444       # with execution for all: MODE_PROGRAM
MODE_PROGRAM = 0o100555


def header(inode, mode, size, name_size):
    fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0]
    return b"070701" + b"".join(f"{value:08X}".encode() for value in fields)


def entry(position, inode, name, data, align, mode):
    encoded = name.encode() + b"\0"
    encoded += bytes(-(position + HEADER_BYTES + len(encoded)) % (align if data else 4))
    body = header(inode, mode if name != TRAILER else 0, len(data), len(encoded)) + encoded
    return body + data + bytes(-len(data) % 4)


def archive(files, align=PAGE, mode=MODE_FILE):
    """The bytes of an archive of {name: bytes}."""
    out = bytearray()
    for inode, name in enumerate(sorted(files), 1):
        out += entry(len(out), inode, name, files[name], align, mode)
    out += entry(len(out), 0, TRAILER, b"", 4, 0)
    return bytes(out) + bytes(-len(out) % PAGE)


def read(data):
    """{name: (offset of the data, data)} of an archive; raises ValueError. For tests and for looking into images."""
    files, position = {}, 0
    while True:
        if data[position:position + 6] != b"070701" or position + HEADER_BYTES > len(data):
            raise ValueError(f"no entry at {position}")
        fields = [int(data[position + 6 + 8 * i:position + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[position + HEADER_BYTES:position + HEADER_BYTES + name_size].split(b"\0")[0].decode()
        start = (position + HEADER_BYTES + name_size + 3) // 4 * 4
        if start + size > len(data):
            raise ValueError(f"{name}: cut off")
        if name == TRAILER:
            return files
        files[name] = (start, data[start:start + size])
        position = (start + size + 3) // 4 * 4
