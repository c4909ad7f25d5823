"""PNG files made byte by byte: every colour type, depth and filter, whole or damaged on purpose."""

import random
import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples a pixel, by colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
KINDS = [(colour_type, depth) for colour_type, depths in DEPTHS.items() for depth in depths]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """One PNG chunk: length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, colour_type: int = 2, depth: int = 8) -> bytes:
    """The IHDR chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def idat(lines: bytes) -> bytes:
    """An IDAT chunk of these scan lines."""
    return chunk(b"IDAT", zlib.compress(lines))


def palette(depth: int) -> bytes:
    """A PLTE chunk with a colour for every index that `depth` bits can hold, no two alike."""
    return chunk(b"PLTE", b"".join(bytes((index, 255 - index, index // 2)) for index in range(2**depth)))


def filtered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    """A scan line as PNG's filter `kind` (0 to 4) writes it; `step` is the bytes a pixel."""
    out = bytearray([kind])
    for index, value in enumerate(line):
        left, corner = (line[index - step], above[index - step]) if index >= step else (0, 0)
        up = above[index]
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda near: abs(guess - near))
        out.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) & 255)
    return bytes(out)


def noise(seed: int = 1) -> Iterator[int]:
    """Endless bytes, the same for the same seed."""
    source = random.Random(seed)
    while True:
        yield from source.randbytes(4096)


def scanlines(
    width: int,
    height: int,
    colour_type: int = 2,
    depth: int = 8,
    filters: Sequence[int] = (0,),
    pixel: bytes | None = None,
    seed: int = 1,
) -> bytes:
    """What the IDAT chunks decompress to: noise, or `pixel` (one whole-byte pixel) all over; `filters` take turns."""
    step = max(1, CHANNELS[colour_type] * depth // 8)
    random_bytes = noise(seed)
    out = bytearray()
    length = (width * CHANNELS[colour_type] * depth + 7) // 8
    above = bytes(length)
    for row in range(height):
        line = (pixel * width)[:length] if pixel else bytes(next(random_bytes) for _ in range(length))
        out += filtered(filters[row % len(filters)], line, above, step)
        above = line
    return bytes(out)


def assemble(*chunks: bytes) -> bytes:
    """A file of these chunks."""
    return SIGNATURE + b"".join(chunks)


def png(
    width: int = 150,
    height: int = 50,
    colour_type: int = 2,
    depth: int = 8,
    filters: Sequence[int] = (0,),
    pixel: bytes | None = None,
    idats: int = 1,
    seed: int = 1,
) -> bytes:
    """A whole, right PNG, its pixel data spread over `idats` chunks."""
    packed = zlib.compress(scanlines(width, height, colour_type, depth, filters, pixel, seed), 1)
    size = -(-len(packed) // idats)
    return assemble(
        header(width, height, colour_type, depth),
        *([palette(depth)] if colour_type == 3 else []),
        *(chunk(b"IDAT", packed[start : start + size]) for start in range(0, len(packed), size)),
        chunk(b"IEND"),
    )


def of_rows(rows: Sequence[bytes], filters: Sequence[int] = (0,), colour_type: int = 2) -> bytes:
    """A PNG of these rows of 8-bit pixels, the filters taking turns."""
    step = CHANNELS[colour_type]
    lines, above = b"", bytes(len(rows[0]))
    for number, row in enumerate(rows):
        lines += filtered(filters[number % len(filters)], row, above, step)
        above = row
    return assemble(header(len(rows[0]) // step, len(rows), colour_type), idat(lines), chunk(b"IEND"))


def plain(width: int, height: int) -> bytes:
    """A quickly made PNG of any size with more than one colour: white, its last line black."""
    lines = b"\0" + b"\xff" * (3 * width)
    data = zlib.compress(lines * (height - 1) + b"\0" + bytes(3 * width), 1)
    return assemble(header(width, height), chunk(b"IDAT", data), chunk(b"IEND"))


def chunks(body: bytes) -> list[tuple[int, bytes, bytes]]:
    """Offset, kind and data of each chunk of a right PNG."""
    found, offset = [], len(SIGNATURE)
    while offset < len(body):
        (length,) = struct.unpack_from(">I", body, offset)
        found.append((offset, body[offset + 4 : offset + 8], body[offset + 8 : offset + 8 + length]))
        offset += length + 12
    return found


def zeros(megabytes: int) -> bytes:
    """A zlib stream of so many MB of zeros, made without the work of packing them."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    next_one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", (megabytes << 20) % 65521, 1)
    return first + next_one * (megabytes - 1) + b"\x03\x00" + checksum
