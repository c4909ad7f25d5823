"""The check of the picture itself, held against Pillow: whole, of the right size, of more than one colour."""

import io
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import pictures

import banner

WIDTH, HEIGHT = 24, 10
PLAIN = pictures.png(WIDTH, HEIGHT, filters=(0, 1, 2, 3, 4), idats=3)
GOOD = PLAIN[:33] + pictures.chunk(b"tEXt", b"Title\0followers") + PLAIN[33:]
FILTERS = [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)]
PIXELS = {2: b"\x85\x01\xfe", 6: b"\x85\x01\xfe\x80"}
KINDS = [(2, 8), (6, 8)]  # what renderers send: RGB and RGBA of eight bits


IHDR = pictures.header(WIDTH, HEIGHT)
LINES = pictures.scanlines(WIDTH, HEIGHT)
LINE = 1 + 3 * WIDTH
PACKED = zlib.compress(LINES)
IDAT = pictures.chunk(b"IDAT", PACKED)
IEND = pictures.chunk(b"IEND")


def of(packed: bytes) -> bytes:
    """A PNG of right checksums around these packed pixels."""
    return pictures.assemble(IHDR, pictures.chunk(b"IDAT", packed), IEND)


def headed(*fields: int) -> bytes:
    """The good pixels behind a header of depth, colour type, compression, filter method and interlace."""
    header = pictures.chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, *fields))
    return pictures.assemble(header, IDAT, IEND)


OF_ANOTHER_KIND = {
    **{
        f"type {kind}, depth {depth}": pictures.png(WIDTH, HEIGHT, kind, depth)
        for kind, depth in pictures.KINDS
        if (kind, depth) not in KINDS
    },
    "an unknown colour type": headed(8, 7, 0, 0, 0),
    "an unknown depth": headed(3, 2, 0, 0, 0),
    "an unknown compression": headed(8, 2, 1, 0, 0),
    "an unknown filter method": headed(8, 2, 0, 1, 0),
    "interlaced": headed(8, 2, 0, 0, 1),
}

DAMAGED = {
    "nothing": b"",
    "nothing but a signature": pictures.SIGNATURE,
    "nothing but an end": pictures.assemble(IEND),
    "no header": pictures.assemble(IDAT, IEND),
    "a header that is not the first": pictures.assemble(pictures.chunk(b"tEXt"), IHDR, IDAT, IEND),
    "two headers": pictures.assemble(IHDR, IHDR, IDAT, IEND),
    "a header of 12 bytes": pictures.assemble(pictures.chunk(b"IHDR", IHDR[8:20]), IDAT, IEND),
    "a header of 14 bytes": pictures.assemble(pictures.chunk(b"IHDR", IHDR[8:21] + b"\0"), IDAT, IEND),
    "no pixels": pictures.assemble(IHDR, IEND),
    "empty pixels": of(b""),
    "pixels after the end": pictures.assemble(IHDR, IEND, IDAT),
    "two ends": pictures.assemble(IHDR, IDAT, IEND, IEND),
    "an end with something in it": pictures.assemble(IHDR, IDAT, pictures.chunk(b"IEND", b"\0")),
    "no end": pictures.assemble(IHDR, IDAT),
    "a chunk after the end": pictures.assemble(IHDR, IDAT, IEND, pictures.chunk(b"tEXt", b"Title\0")),
    "an unknown chunk that may not be passed over": pictures.assemble(IHDR, pictures.chunk(b"ABCD"), IDAT, IEND),
    "pixels in two places": pictures.assemble(
        IHDR,
        pictures.chunk(b"IDAT", PACKED[:9]),
        pictures.chunk(b"tEXt", b"a\0"),
        pictures.chunk(b"IDAT", PACKED[9:]),
        IEND,
    ),
    "a line too few": of(zlib.compress(LINES[:-LINE])),
    "a line too many": of(zlib.compress(LINES + LINES[:LINE])),
    "a byte too few": of(zlib.compress(LINES[:-1])),
    "a byte too many": of(zlib.compress(LINES + b"\0")),
    "something behind the packed pixels": of(PACKED + b"more"),
    "packed pixels without an end": of(PACKED[:-6]),
    "a wrong checksum of the pixels": of(PACKED[:-4] + b"1234"),
    "pixels that are not packed": of(LINES),
    "an unknown filter in the first line": of(zlib.compress(b"\x05" + LINES[1:])),
    "an unknown filter in the last line": of(zlib.compress(LINES[:-LINE] + b"\xff" + LINES[1 - LINE :])),
    "a palette that would change nothing": pictures.assemble(IHDR, pictures.palette(8), IDAT, IEND),
    "a colour that would be transparent": pictures.assemble(IHDR, pictures.chunk(b"tRNS", bytes(6)), IDAT, IEND),
    "an animation": pictures.assemble(IHDR, pictures.chunk(b"acTL", b"\0\0\0\2\0\0\0\0"), IDAT, IEND),
    "a length beyond the end": GOOD[:33] + b"\xff\xff\xff\xff" + GOOD[37:],
}


def accepted(body: bytes, width: int = WIDTH, height: int = HEIGHT) -> bool:
    try:
        banner.check_png(body, width, height, b"")
    except banner.Failed:
        return False
    return True


def decoded(body: bytes) -> bytes:
    """The pixels, as another program sees them."""
    with Image.open(io.BytesIO(body)) as image:
        return image.convert("RGBA").tobytes()


def same_picture(body: bytes) -> bool:
    return decoded(body) == decoded(GOOD)


def colours(body: bytes) -> int:
    """How many colours Pillow sees in it."""
    pixels = decoded(body)
    return len({pixels[at : at + 4] for at in range(0, len(pixels), 4)})


def test_the_good_picture_is_accepted() -> None:
    assert accepted(GOOD)


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_picture_is_refused(body: bytes) -> None:
    with pytest.raises(banner.Failed, match=r"^(the PNG is damaged or cut short|no PNG came as image/png)"):
        banner.check_png(body, WIDTH, HEIGHT, b"")


@pytest.mark.parametrize("body", OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_no_other_kind_than_the_renderers_is_accepted(body: bytes) -> None:
    with pytest.raises(banner.Failed, match=r"^the PNG is (not 8-bit RGB or RGBA|damaged)"):
        banner.check_png(body, WIDTH, HEIGHT, b"")


def test_any_cut_is_refused() -> None:
    assert not [length for length in range(len(GOOD)) if accepted(GOOD[:length])]


def test_any_changed_bit_is_refused() -> None:
    changed = (GOOD[:at] + bytes([GOOD[at] ^ 1 << bit]) + GOOD[at + 1 :] for at in range(len(GOOD)) for bit in range(8))
    assert not [body for body in changed if accepted(body)]


def test_any_dropped_byte_is_refused_or_the_picture_is_the_same() -> None:
    left = [GOOD[:at] + GOOD[at + 1 :] for at in range(len(GOOD))]
    assert not [body for body in left if accepted(body) and not same_picture(body)]


@given(at=st.integers(0, len(GOOD)), inserted=st.binary(min_size=1, max_size=20))
def test_anything_inserted_is_refused_or_the_picture_is_the_same(at: int, inserted: bytes) -> None:
    body = GOOD[:at] + inserted + GOOD[at:]
    assert not accepted(body) or same_picture(body)


@given(at=st.integers(0, len(GOOD) - 1), length=st.integers(1, 40), instead=st.binary(max_size=40))
def test_anything_replaced_is_refused_or_the_picture_is_the_same(at: int, length: int, instead: bytes) -> None:
    body = GOOD[:at] + instead + GOOD[at + length :]
    assert not accepted(body) or same_picture(body)


@given(st.permutations(pictures.chunks(GOOD)))
def test_chunks_in_any_order_are_refused_or_the_picture_is_the_same(parts: list[tuple[int, bytes, bytes]]) -> None:
    body = pictures.assemble(*(pictures.chunk(kind, data) for _, kind, data in parts))
    assert not accepted(body) or same_picture(body)


@given(header=st.binary(min_size=13, max_size=13), body=st.binary(max_size=200))
def test_no_garbage_behind_right_checksums_is_accepted_or_a_crash(header: bytes, body: bytes) -> None:
    parts = [pictures.chunk(b"IHDR", header), pictures.chunk(b"IDAT", body), pictures.chunk(b"IEND")]
    assert not accepted(pictures.assemble(*parts))


@given(st.binary(max_size=300))
def test_no_garbage_is_accepted_or_a_crash(body: bytes) -> None:
    assert not accepted(body)
    assert not accepted(pictures.SIGNATURE + body)


@settings(max_examples=50)
@given(
    kind=st.sampled_from(KINDS),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    width=st.integers(1, 40),
    height=st.integers(1, 20),
    idats=st.integers(1, 9),
    seed=st.integers(0, 9999),
)
def test_rgb_and_rgba_with_every_filter_are_accepted_in_their_size_alone(
    kind: tuple[int, int], filters: list[int], width: int, height: int, idats: int, seed: int
) -> None:
    body = pictures.png(width, height, *kind, filters=filters, idats=idats, seed=seed)
    assert accepted(body, width, height) == (colours(body) > 1)
    assert not accepted(body, width + 1, height)
    assert not accepted(body, width, height - 1)
    assert not accepted(body, height, width + height)


@pytest.mark.parametrize("values", [3, 256])  # of few, neighbours are often as near as each other
@pytest.mark.parametrize("colour_type", PIXELS)
@pytest.mark.parametrize("kind", range(5))
def test_each_filter_is_undone_as_pillow_does(kind: int, colour_type: int, values: int) -> None:
    width, height, seeded = 60, 60, random.Random(kind)
    length = width * pictures.CHANNELS[colour_type]
    lines = b"".join(
        bytes([kind, *(seeded.randrange(values) if row % 7 else 0 for _ in range(length))]) for row in range(height)
    )
    body = pictures.assemble(pictures.header(width, height, colour_type), pictures.idat(lines), IEND)
    with Image.open(io.BytesIO(body)) as picture:
        assert b"".join(banner.rows(banner.scan_lines(body, width, height), width)) == picture.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}], ids=str)
def test_what_pillow_writes_is_accepted(mode: str, options: dict[str, bool]) -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").convert(mode).save(file, "PNG", **options)
    assert accepted(file.getvalue(), 256, 256)
    assert not accepted(file.getvalue(), 1500, 500)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("colour_type", PIXELS)
def test_one_colour_is_refused_behind_any_filter(colour_type: int, filters: tuple[int, ...]) -> None:
    body = pictures.png(WIDTH, HEIGHT, colour_type, 8, filters, PIXELS[colour_type])
    assert colours(body) == 1
    with pytest.raises(banner.Failed, match="colour"):
        banner.check_png(body, WIDTH, HEIGHT, b"")


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_pixels_of_many_colours_that_are_all_transparent_are_refused(filters: tuple[int, ...]) -> None:
    noise = pictures.noise()
    rows = [bytes(0 if at % 4 == 3 else next(noise) for at in range(4 * WIDTH)) for _ in range(HEIGHT)]
    with pytest.raises(banner.Failed, match="blank"):
        banner.check_png(pictures.of_rows(rows, filters, 6), WIDTH, HEIGHT, b"")


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("at", [(0, 0), (23, 0), (0, 9), (23, 9), (11, 5)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_one_pixel_of_another_colour_is_enough(mode: str, at: tuple[int, int], filters: tuple[int, ...]) -> None:
    image = Image.new(mode, (WIDTH, HEIGHT), (7, 0, 9, 255)[: len(mode)])
    image.putpixel(at, (7, 1, 9, 255)[: len(mode)])
    length = WIDTH * len(mode)
    rows = [image.tobytes()[start : start + length] for start in range(0, length * HEIGHT, length)]
    body = pictures.of_rows(rows, filters, {"RGB": 2, "RGBA": 6}[mode])
    assert decoded(body) == image.convert("RGBA").tobytes()
    assert accepted(body)


@pytest.mark.parametrize("size", [(WIDTH + 2**24, HEIGHT), (WIDTH, HEIGHT + 2**24)])
def test_every_byte_of_the_size_counts(size: tuple[int, int]) -> None:
    with pytest.raises(banner.Failed, match=f"^the picture is {size[0]}x{size[1]} instead of {WIDTH}x{HEIGHT}"):
        banner.check_png(pictures.assemble(pictures.header(*size), IDAT, IEND), WIDTH, HEIGHT, b"")


@pytest.mark.parametrize(
    ("width", "height", "advice"),
    [
        (1000, 500, "3000 wide"),
        (3000, 1500, "3000 wide"),
        (999, 500, "no renderer"),
        (1000, 499, "no renderer"),
        (478, 208, "no renderer"),
    ],
)
def test_a_size_that_grafana_never_renders_is_its_notice(width: int, height: int, advice: str) -> None:
    with pytest.raises(banner.Failed, match=advice):
        banner.check_png(pictures.assemble(pictures.header(width, height), IDAT, IEND), 1500, 500, b"")
