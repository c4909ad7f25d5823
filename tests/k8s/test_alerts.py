"""The rules: what must be published and what must raise an alert, and what must not, by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import K8S, TESTS

from k8s.manifests import tool

PROMTOOL = "it comes with Prometheus: https://prometheus.io/download"
ALERTS = K8S / "alerts/prometheusrule-banner.yaml"
CASES = sorted(file.name for file in (TESTS / "k8s").glob("*_test.yaml"))


def rules(file: Path) -> Any:
    return yaml.safe_load(file.read_text())["spec"]["groups"][0]["rules"]


@pytest.mark.parametrize("cases", CASES)
def test_each_rule_does_what_it_must_and_only_that(cases: str, tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    for file in (K8S / "alerts").glob("prometheusrule-*.yaml"):
        # The account is replaced when it is built.
        text = file.read_text().replace("replaced by ../components/replacements", "A")
        (tmp_path / file.name).write_text(yaml.safe_dump(yaml.safe_load(text)["spec"]))
    shutil.copy(TESTS / "k8s" / cases, tmp_path)
    done = subprocess.run([promtool, "test", "rules", cases], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_cases_and_says_what_it_means_and_what_to_do() -> None:
    cases = "".join((TESTS / "k8s" / name).read_text() for name in CASES)
    for alert in [one for one in rules(ALERTS) if "alert" in one]:
        assert f'{{alertname="{alert["alert"]}", alertstate="firing"}}' in cases, alert["alert"]
        assert f"alertname: {alert['alert']}, " in cases, alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}
        assert alert["labels"]["namespace"] == "monitoring", "an AlertmanagerConfig's routes ask for it"
