"""Pictures that are not whole, or show nothing; more of them, without a process each, in test_png.py."""

from support import pictures
from support.peers import answers
from support.script import GOOD

from script.faults.fault import Fault
from script.faults.lines import DAMAGED

BOMB = pictures.assemble(
    pictures.header(150, 50), pictures.chunk(b"IDAT", pictures.zeros(400)), pictures.chunk(b"IEND")
)

FAULTS = [
    Fault("a PNG cut by one byte", DAMAGED, render=answers(200, GOOD[:-1])),
    Fault("a bomb of 400 MB in a picture of 150x50", DAMAGED, render=answers(200, BOMB)),
    Fault(
        "one colour",
        "failed: the picture is blank, of one colour: it was taken too early: raise BROWSER_READINESS_*",
        render=answers(200, pictures.png(pixel=b"\x10\x20\x30")),
    ),
]
