"""The rules: what must be published and what must raise an alert, and what must not, by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import K8S, TESTS
from support.tools import tool

from k8s.manifests import build, find

PROMTOOL = "it comes with Prometheus: https://prometheus.io/download"
ALERTS = [K8S / "alerts/prometheusrule-banner.yaml", K8S / "components/long-term/thanos/prometheusrule-thanos.yaml"]
CASES = sorted(file.name for file in (TESTS / "k8s").glob("*_test.yaml"))


def rules(file: Path) -> Any:
    return yaml.safe_load(file.read_text())["spec"]["groups"][0]["rules"]


@pytest.mark.parametrize("cases", CASES)
def test_each_rule_does_what_it_must_and_only_that(cases: str, tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    for file in [*(K8S / "alerts").glob("prometheusrule-*.yaml"), ALERTS[1]]:
        # The account is replaced when it is built.
        text = file.read_text().replace("replaced by ../components/replacements", "A")
        (tmp_path / file.name).write_text(yaml.safe_dump(yaml.safe_load(text)["spec"]))
    shutil.copy(TESTS / "k8s" / cases, tmp_path)
    done = subprocess.run([promtool, "test", "rules", cases], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_cases_and_says_what_it_means_and_what_to_do() -> None:
    cases = "".join((TESTS / "k8s" / name).read_text() for name in CASES)
    for alert in [one for file in ALERTS for one in rules(file) if "alert" in one]:
        assert f'{{alertname="{alert["alert"]}", alertstate="firing"}}' in cases, alert["alert"]
        assert f"alertname: {alert['alert']}, " in cases, alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}
        assert alert["labels"]["namespace"] == "monitoring", "an AlertmanagerConfig's routes ask for it"


STOCK = """
rule_files: [stock.yaml]
evaluation_interval: 1m
tests:
  - interval: 30s
    input_series:
      - series: kube_job_failed{{job="kube-state-metrics", namespace="monitoring", job_name="banner-1"}}
        values: _x9 1x{scrapes} stale
    promql_expr_test:
      - expr: 'count(count_over_time(ALERTS{{alertname="KubeJobFailed", alertstate="firing"}}[1h]))'
        eval_time: 1h
        exp_samples: {firing}
"""


@pytest.mark.xdist_group("manifests")
@pytest.mark.parametrize(("longer", "firing"), [(0, "[]"), (120, "[{labels: '{}', value: 1}]")])
def test_a_failed_run_is_gone_before_kube_prometheus_tells_of_a_failed_job(
    longer: int, firing: str, tmp_path: Path
) -> None:
    objects = build(".")
    seconds = find(objects, "CronJob", "banner")["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] + longer
    stock = find(objects, "PrometheusRule", "kubernetes-monitoring-rules")["spec"]["groups"]
    theirs = [rule for group in stock for rule in group["rules"] if rule.get("alert") == "KubeJobFailed"]
    (tmp_path / "stock.yaml").write_text(yaml.safe_dump({"groups": [{"name": "stock", "rules": theirs}]}))
    (tmp_path / "cases.yaml").write_text(STOCK.format(scrapes=seconds // 30, firing=firing))
    promtool = tool("promtool", PROMTOOL)
    done = subprocess.run([promtool, "test", "rules", "cases.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
