"""What real Grafana servers answered, good and bad, where the folder of it is here."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.peers import Handler, answers, paths
from support.script import QUERY

FOLDER = Path(os.environ.get("BANNER_RENDERS", "no-renders"))
API = "/api/dashboards/uid/"
PUBLISHED = ("publish", "cannot-be-told")


def rows(name: str = "renders.json") -> list[dict[str, Any]]:
    """The rows of renders.json, or states.json; none where the folder is absent."""
    file = FOLDER / name
    return json.loads(file.read_text()) if file.exists() else []


NEEDS_RENDERS = pytest.mark.skipif(
    not rows(), reason="set BANNER_RENDERS to the folder of renders.json to test real Grafana answers"
)


def grafana(row: dict[str, Any]) -> Handler:
    """The Grafana that gave this answer: its render, what its API knew of dashboards, and what its Prometheus said."""

    def kept(status: int, name: str) -> Handler:
        return answers(status, (FOLDER / name).read_bytes(), "application/json; charset=UTF-8")

    banner_lab = json.dumps({"dashboard": json.loads((FOLDER / "banner-panels.json").read_text())}).encode()
    location = {} if row["location"] is None else {"location": row["location"]}
    body = (FOLDER / row["file"]).read_bytes()
    query = {"wrong-no-data.png": kept(200, "api-query-empty.json"), "wrong-prometheus-down.png": answers(502)}
    return paths(
        {
            "/render/": answers(row["status"], body, row["content_type"], **location),
            "/d-solo/": answers(row["status"], body, row["content_type"], **location),
            API + "wR0Yf26Gk": kept(200, "api-dashboard.json"),
            API + "bannerLab": answers(200, banner_lab, "application/json"),
            API: kept(404, "api-dashboard-missing.json"),
            QUERY: query.get(row["file"], kept(200, "api-query.json")),
        }
    )
