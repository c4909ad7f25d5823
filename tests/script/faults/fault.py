"""What a row of the tables says, and what most rows share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.peers import Handler, answers, says
from support.script import GOOD, RENDER, SIZE

from script.faults.lines import PUBLISHED

SERIES = {"metric": {"username": "NAME"}, "value": [1795371764.675, "1661"]}
LOGIN = "user:" + "test-password%2Fwith%40signs" + "@"  # PASSWORD, as a URL has it


def vector(*series: object, kind: str = "vector") -> Handler:
    """Prometheus' answer to an instant query."""
    return says({"status": "success", "data": {"resultType": kind, "result": list(series)}})


good = answers(200, GOOD)
taken = answers(200, content_type=None)
known = says({"meta": {}, "dashboard": {"panels": [{"id": 2}, {"id": 3}, {"id": 4}], "uid": "wR0Yf26Gk"}})
found = vector(SERIES)


@dataclass(frozen=True)
class Fault:
    """One way in which a run can go; a peer that is not named here does what it should.

    `line` is what the run prints, and all that it prints. In it and in the settings, `{grafana}`, `{x}` and `{other}`
    stand for the peers' host:port, and `{closed}` for one where nobody listens; in the line also `{size}`, `{bytes}`
    and `{sha}` for those of the picture sent, `{deadline}`, and `{seconds}` for what the run measured.
    """

    claim: str
    line: str
    status: int = 1
    sent: bytes | None = None  # the picture that X gets, in the one request it gets
    written: bytes | None = None  # the picture that is left at image_path; by default the one that is sent
    size: str = SIZE
    settings: Mapping[str, str] = field(default_factory=dict)
    render: Handler = good
    dashboard: Handler = known
    query: Handler = found
    x: Handler = taken
    other: Handler = good
    grafana: Handler | None = None  # instead of the three above
    grafana_tls: str = ""  # one of the certificates in tests/conftest.py: tls, untrusted, misnamed
    x_tls: str = "tls"
    renders: Any = 1  # requests for a picture
    other_tls: str = ""
    tunnelled: bool = False  # X is at the other end of a tunnel through `other`
    other_asked: Any = 0
    late: bool = False  # it is to run out of time


def published(claim: str, status: int = 200, **row: Any) -> Fault:
    """No fault after all; X answers with this status."""
    return Fault(claim, f"{PUBLISHED}{status}", 0, **{"sent": GOOD} | row)


def late(claim: str, step: str, **row: Any) -> Fault:
    """Only the deadline ends this one; the line says at which step."""
    return Fault(claim, "failed: out of time after {deadline} s, " + step, late=True, **row)


def addressed(host: str, path: str = RENDER, scheme: str = "http") -> dict[str, str]:
    """The setting of a picture at another address than the good one's."""
    return {"image_url": f"{scheme}://{host}{path}"}
