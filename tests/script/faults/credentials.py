"""What the other side says is never quoted: no credentials, and nothing that drives a terminal or forges a line."""

from support.peers import answers, echo, redirects, says, sends, silence
from support.script import GOOD, PASSWORD, TOKEN

from script.faults.fault import LOGIN, Fault, addressed, late
from script.faults.lines import (
    ASKING_FOR_DASHBOARD,
    BROKE_OFF,
    DOWN,
    ELSEWHERE,
    NO_DASHBOARD,
    NO_PNG,
    NO_PNG_TYPE,
    NO_SUCH_HOST,
    NOT_LISTENING,
    TOKEN_UNKNOWN,
)
from script.faults.render import ANSWERED

FORGED = "\npublished: forged\x1b[31m\u2028\u202e\x9b"

FAULTS = [
    Fault(
        "the token echoed in the body",
        f"{ANSWERED}401: {TOKEN_UNKNOWN}",
        settings={"grafana_token": TOKEN},
        render=echo(401, "{head}"),
    ),
    Fault(
        "the token echoed as the picture",
        NO_PNG,
        settings={"grafana_token": TOKEN},
        render=echo(200, "{head}", "image/png"),
    ),
    Fault(
        "the token echoed in a redirect",
        f"{ANSWERED}302: {ELSEWHERE}",
        settings={"grafana_token": TOKEN},
        render=redirects(302, f"/login?authorization=Bearer%20{TOKEN}&password={PASSWORD}"),
    ),
    Fault(
        "the token echoed as the type",
        NO_PNG_TYPE,
        settings={"grafana_token": TOKEN},
        render=answers(200, GOOD, f"text/{TOKEN}"),
    ),
    Fault(
        "the token echoed as the reason",
        f"{ANSWERED}500: {DOWN}",
        settings={"grafana_token": TOKEN},
        render=answers(f"500 Bearer {TOKEN}"),
    ),
    Fault(
        "the token echoed by the dashboard",
        NO_DASHBOARD,
        settings={"grafana_token": TOKEN},
        dashboard=echo(404, '{"message": "Dashboard not found", "head": "{head}"}', "application/json"),
        renders=0,
    ),
    Fault(
        "the token echoed in the dashboard's message",
        NO_DASHBOARD,
        settings={"grafana_token": TOKEN},
        dashboard=says({"message": f"Dashboard not found, Authorization: Bearer {TOKEN}"}, 404),
        renders=0,
    ),
    Fault(
        "the password of the URL, Grafana refuses it",
        f"{ANSWERED}401: {TOKEN_UNKNOWN}",
        settings=addressed(LOGIN + "{grafana}"),
        render=echo(401, "{head}"),
    ),
    Fault(
        "the password of the URL, nothing listening",
        "failed: Grafana's render: " + NOT_LISTENING.format("{closed}"),
        settings=addressed(LOGIN + "{closed}"),
        renders=0,
    ),
    Fault(
        "the password of the URL, no such host",
        "failed: Grafana's render: " + NO_SUCH_HOST.format("nowhere.invalid"),
        settings=addressed(LOGIN + "nowhere.invalid"),
        renders=0,
    ),
    Fault(
        "the password of the URL, not HTTP",
        "failed: Grafana's render: " + BROKE_OFF.format("{grafana}"),
        settings=addressed(LOGIN + "{grafana}"),
        grafana=sends(b"\0" * 99),
    ),
    late(
        "the password of the URL, silence",
        ASKING_FOR_DASHBOARD,
        settings=addressed(LOGIN + "{grafana}"),
        grafana=silence(),
        renders=0,
    ),
    Fault(
        "the password of publish_if_url, nothing listening",
        "failed: publish_if_url: " + NOT_LISTENING.format("{closed}"),
        settings={"publish_if_url": f"http://{LOGIN}{{closed}}/api/v1/query?query=up"},
        renders=0,
    ),
    Fault(
        "control characters in the reason",
        f"{ANSWERED}503: {DOWN}",
        render=sends(b"HTTP/1.1 503 \x1b[31mred\x07\x08\rpublished: forged\r\nContent-Length: 0\r\n\r\n"),
    ),
    Fault(
        "control characters in the type",
        NO_PNG_TYPE,
        render=answers(200, GOOD, "text/\x1b]0;title\x07\x9b31m\x85forged"),
    ),
    Fault(
        "control characters in the location",
        f"{ANSWERED}302: {ELSEWHERE}",
        render=redirects(302, "/\x1b[2J\x9bpublished"),
    ),
    Fault(
        "control characters in the dashboard's message",
        NO_DASHBOARD,
        dashboard=says({"message": "Dashboard not found" + FORGED}, 404),
        renders=0,
    ),
    Fault(
        "control characters in the names of panels",
        "failed: no such panel as '2' among [7]: set panelId in image_url",
        dashboard=says({"dashboard": {"elements": {"panel-7" + FORGED: {"spec": {"id": 7, "title": FORGED}}}}}),
        renders=0,
    ),
    Fault("a type of 9000 characters", NO_PNG_TYPE, render=answers(200, GOOD, "text/" + "x" * 9000)),
    Fault("a location of 9000 characters", f"{ANSWERED}302: {ELSEWHERE}", render=redirects(302, "/" + "x" * 9000)),
    Fault(
        "a message of 9000 characters",
        NO_DASHBOARD,
        dashboard=says({"message": "Dashboard not found " * 500}, 404),
        renders=0,
    ),
]
