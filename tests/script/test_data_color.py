"""The proof that a panel shows data: enough pixels of exactly one colour, behind whatever filters they are."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pictures
from support.peers import Peer, answers, paths
from support.script import KEYS, RENDER, one_line, run

import banner

WIDTH, HEIGHT = 40, 12
COLOR = bytes.fromhex("1DA1F2")
BACKGROUND = b"\x11\x12\x17"
FILTERS = [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)]


def rows(*spots: tuple[int, int], step: int = 3, color: bytes = COLOR, alpha: bytes = b"\xff") -> list[bytes]:
    """Rows of a dark picture with pixels of the colour in these places, x and y."""
    drawn = [bytearray((BACKGROUND + b"\xff" * (step - 3)) * WIDTH) for _ in range(HEIGHT)]
    for x, y in spots:
        drawn[y][x * step : (x + 1) * step] = color + alpha * (step - 3)
    return [bytes(row) for row in drawn]


def proven(png: bytes, color: bytes = COLOR) -> bool:
    """Whether the picture is taken for one that shows data."""
    try:
        banner.check_png(png, WIDTH, HEIGHT, color)
    except banner.Failed as failure:
        if re.match("the picture shows no data, only [0-9] pixels of data_color: ", str(failure)):
            return False
        raise
    return True


def scattered(number: int, seed: int = 1) -> list[tuple[int, int]]:
    return random.Random(seed).sample([(x, y) for x in range(WIDTH) for y in range(HEIGHT)], number)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("colour_type", [2, 6])
@pytest.mark.parametrize(
    ("number", "enough"), [(0, False), (1, False), (9, False), (10, True), (11, True), (400, True)]
)
def test_ten_pixels_of_the_colour_are_enough(
    number: int, enough: bool, colour_type: int, filters: tuple[int, ...]
) -> None:
    drawn = rows((0, 0), color=b"\xff\xff\xff", step=pictures.CHANNELS[colour_type]) if not number else None
    drawn = drawn or rows(*scattered(number), step=pictures.CHANNELS[colour_type])
    assert proven(pictures.of_rows(drawn, filters, colour_type)) == enough


@pytest.mark.parametrize(
    "spots",
    [[(x, 0) for x in range(10)], [(x, HEIGHT - 1) for x in range(30, 40)], [(7, y) for y in range(10)]],
    ids=["the first row", "the end of the last row", "a column"],
)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_they_count_wherever_they_are(spots: list[tuple[int, int]], filters: tuple[int, ...]) -> None:
    assert proven(pictures.of_rows(rows(*spots), filters))
    assert not proven(pictures.of_rows(rows(*spots[1:]), filters))


@pytest.mark.parametrize("near", [b"\x1d\xa1\xf3", b"\x1c\xa1\xf2", b"\xf2\xa1\x1d"], ids=bytes.hex)
def test_a_colour_that_is_nearly_it_does_not_count(near: bytes) -> None:
    assert not proven(pictures.of_rows(rows(*scattered(200), color=near)))


def test_its_bytes_across_two_pixels_do_not_count() -> None:
    row = (b"\x1d" + (b"\xa1\xf2\x1d" * WIDTH))[: 3 * WIDTH]
    shifted = [b"\0" + row[:-1]] * HEIGHT
    assert COLOR in shifted[0]
    assert not proven(pictures.of_rows(shifted))


@pytest.mark.parametrize("alpha", [b"\x00", b"\x80", b"\xfe"], ids=bytes.hex)
def test_it_does_not_count_where_it_is_transparent(alpha: bytes) -> None:
    assert not proven(pictures.of_rows(rows(*scattered(200), step=4, alpha=alpha), (0,), 6))


def test_nothing_but_the_colour_is_blank() -> None:
    with pytest.raises(banner.Failed, match="the picture is blank"):
        banner.check_png(pictures.of_rows([COLOR * WIDTH] * HEIGHT), WIDTH, HEIGHT, COLOR)


def test_a_picture_that_is_damaged_after_the_proof_is_refused() -> None:
    whole = pictures.of_rows(rows(*[(x, 0) for x in range(20)]))
    lines = pictures.scanlines(WIDTH, HEIGHT - 1)
    first = b"\0" + rows(*[(x, 0) for x in range(20)])[0]
    short = pictures.assemble(
        pictures.header(WIDTH, HEIGHT), pictures.idat(first + lines[:-1]), pictures.chunk(b"IEND")
    )
    assert proven(whole)
    with pytest.raises(banner.Failed, match="damaged"):
        banner.check_png(short, WIDTH, HEIGHT, COLOR)


@settings(max_examples=60)
@given(
    number=st.integers(1, 30),
    seed=st.integers(0, 999),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    colour_type=st.sampled_from([2, 6]),
)
def test_the_number_of_pixels_decides_behind_any_filters(
    number: int, seed: int, filters: list[int], colour_type: int
) -> None:
    noise = random.Random(seed)
    step = pictures.CHANNELS[colour_type]
    drawn = [bytearray(noise.randbytes(WIDTH * step)) for _ in range(HEIGHT)]
    for x, y in scattered(number, seed):
        drawn[y][x * step : (x + 1) * step] = COLOR + b"\xff" * (step - 3)
    png = pictures.of_rows([bytes(row) for row in drawn], filters, colour_type)
    assert proven(png) == (number >= 10)


def test_a_dry_run_tells_the_colours_to_choose_from(tmp_path: Path) -> None:
    drawn = rows(*scattered(100))
    drawn[0] = (b"\xff\x98\x30" * 12 + b"\xf2\x49\x5c" * 9 + b"\xcc\xcc\xcc" * WIDTH)[: 3 * WIDTH]
    png = pictures.of_rows(drawn)
    with Peer(paths({"/render/": answers(200, png)})) as grafana:
        settings = {"image_url": f"{grafana.url}{RENDER}&width={WIDTH}&height={HEIGHT}", "data_color": "#1da1f2"}
        done = run(tmp_path, settings, "--dry-run")
    blue = sum(row.count(COLOR) for row in drawn)
    assert (done.status, done.stderr) == (0, "")
    assert one_line(done.stdout)
    assert done.stdout.endswith(f"; colours for data_color: 1DA1F2 ({blue} pixels), FF9830 (12 pixels)\n")


@pytest.mark.parametrize(
    ("drawn", "told"),
    [
        ({"FF0000": 10}, "FF0000 (10 pixels)"),
        ({"FF0000": 9}, "none stands out"),
        ({"640000": 10}, "640000 (10 pixels)"),
        ({"630000": 10}, "none stands out"),
        (
            {"FF0000": 14, "00FF00": 13, "0000FF": 12, "FF00FF": 11},
            "FF0000 (14 pixels), 00FF00 (13 pixels), 0000FF (12 pixels)",
        ),
    ],
    ids=["ten pixels", "nine pixels", "a saturation of 100", "a saturation of 99", "four colours"],
)
def test_at_most_three_saturated_colours_of_ten_pixels_are_told(drawn: dict[str, int], told: str) -> None:
    lines = [(bytes.fromhex(color) * number).ljust(3 * WIDTH, b"\xcc") for color, number in drawn.items()]
    picture = lines + rows()[len(lines) :]
    assert banner.strong_colors(pictures.of_rows(picture), WIDTH, HEIGHT) == told


def test_a_dry_run_of_a_grey_picture_finds_none(tmp_path: Path) -> None:
    with Peer(paths({"/render/": answers(200, pictures.plain(150, 50))})) as grafana:
        settings = {"image_url": f"{grafana.url}{RENDER}&width=150&height=50"}
        done = run(tmp_path, settings, "--dry-run")
    assert done.stdout.endswith("; colours for data_color: none stands out\n")


def test_without_the_colour_nothing_is_written_or_sent(tmp_path: Path) -> None:
    with Peer(paths({"/render/": answers(200, pictures.plain(150, 50))})) as grafana, Peer(answers(200)) as x:
        settings = {**KEYS, "image_url": f"{grafana.url}{RENDER}&width=150&height=50", "x_host": x.host}
        done = run(tmp_path, {**settings, "data_color": "1DA1F2"})
    assert (done.status, done.stdout, x.connections, list(tmp_path.iterdir())) == (1, "", 0, [])
    assert done.stderr == f"failed: the picture shows no data, only 0 pixels of data_color: {banner.NO_DATA}\n"
