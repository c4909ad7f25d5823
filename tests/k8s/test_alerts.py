"""The alerts: what must raise them and what must not, in tests/k8s/alerts_test.yaml, by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path

import yaml
from support.paths import K8S, TESTS

from k8s.manifests import tool

PROMTOOL = "it comes with Prometheus: https://prometheus.io/download"


def test_each_alert_fires_when_it_must_and_only_then(tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    rule = yaml.safe_load((K8S / "alerts/prometheusrule-banner.yaml").read_text())
    rule["spec"]["groups"][0]["rules"][0]["labels"]["username"] = "A"  # which is replaced when it is built
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(TESTS / "k8s/alerts_test.yaml", tmp_path)
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_cases_and_says_what_it_means_and_what_to_do() -> None:
    rule = yaml.safe_load((K8S / "alerts/prometheusrule-banner.yaml").read_text())
    cases = (TESTS / "k8s/alerts_test.yaml").read_text()
    for alert in [one for one in rule["spec"]["groups"][0]["rules"] if "alert" in one]:
        assert f'{{alertname="{alert["alert"]}", alertstate="firing"}}' in cases, alert["alert"]
        assert f"alertname: {alert['alert']}, " in cases, alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}
