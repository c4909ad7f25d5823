#!/usr/bin/env python3
"""Makes this component of the file accounts: a job for each line, all names for the read of X, and enough renderers.

usage: k8s/components/accounts/generate.py, after each change of that file
"""

import math
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETTING = "(panel|publish|timezone)=[A-Za-z0-9_/-]+"
NAMES_A_READ = 100  # X takes no more
TURNS = 36  # seconds of a minute, in which the accounts begin one after another
DEADLINE = 48  # seconds of a run and the wait for its turn; job/cronjob-banner.yaml has the deadlines beyond it
RENDER = 4.5  # seconds of CPU, of which a renderer has one a second

COMPONENT = """\
# Made by generate.py of the file accounts.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:{folders}
replicas:
  - {{name: image-renderer, count: {renderers}}}
patches:
  - target: {{kind: Probe, name: x-user}}
    patch: |
      - op: replace
        path: /spec/targets/staticConfig/static
        value:{reads}
  - target: {{kind: PrometheusRule, name: banner}}
    patch: |
      - op: add
        path: /spec/groups/-
        value:
          name: accounts
          rules:{rules}
"""
READ = """
          - '{names}'"""
FOLDER = """
  - '{name}'"""
RULE = """
            - record: banner:account
              expr: vector(1)
              labels: {{username: '{account}', namespace: monitoring, cronjob: 'banner-{name}'}}"""
JOB = """\
# Made by ../generate.py of the file accounts.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../job]
nameSuffix: '-{name}'
patches:
  - patch: |
      apiVersion: batch/v1
      kind: CronJob
      metadata: {{name: banner, namespace: monitoring}}
      spec:
        jobTemplate:
          spec:
            template:
              spec:
                containers:
                  - name: banner
                    env:{variables}
                      - name: access_token
                        valueFrom: {{secretKeyRef: {{key: access_token_{account}}}}}
                      - name: access_token_secret
                        valueFrom: {{secretKeyRef: {{key: access_token_secret_{account}}}}}
"""
VARIABLE = """
                      - {{name: {name}, value: '{value}'}}"""


def read(text: str) -> dict[str, dict[str, str]]:
    """The settings in which each account differs. Ends the program where a line is wrong, or there is none."""
    accounts: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if not (words := line.partition("#")[0].split()):
            continue
        account, *settings = words
        if not re.fullmatch("[A-Za-z0-9_]+", account) or not all(re.fullmatch(SETTING, one) for one in settings):
            raise SystemExit(f"accounts: no name on X with panel=, publish= or timezone= after it: {line}")
        if object_name(account) in map(object_name, accounts):
            raise SystemExit(f"accounts: an earlier line's job is banner-{object_name(account)}, too: {line}")
        accounts[account] = dict(setting.split("=") for setting in settings)
    return accounts or sys.exit("accounts: no line with an account")


def object_name(account: str) -> str:
    """What an object of Kubernetes can be called: lower case, and a letter or digit at both ends."""
    name = account.lower().replace("_", "-")
    return name if name.strip("-") == name else f"x{name}x"


def generate(accounts: dict[str, dict[str, str]]) -> None:
    """Writes this folder's kustomization.yaml, and a folder for each account; those of other accounts go."""
    for old in HERE.iterdir():
        if old.is_dir() and old.name != "job":
            shutil.rmtree(old)
    everybody = ["-", *accounts]  # the first is the one of the settings, which ../replacements puts there
    for turn, (account, settings) in enumerate(accounts.items(), 1):
        wait = round(TURNS * turn / len(everybody), 1)
        variables = {"account": account, **settings, "wait": f"{wait:g}", "deadline_seconds": f"{DEADLINE - wait:g}"}
        made = "".join(VARIABLE.format(name=name, value=value) for name, value in variables.items())
        folder = HERE / object_name(account)
        folder.mkdir()
        job = JOB.format(name=folder.name, account=account, variables=made)
        (folder / "kustomization.yaml").write_text(job)
    reads = [",".join(everybody[at : at + NAMES_A_READ]) for at in range(0, len(everybody), NAMES_A_READ)]
    component = COMPONENT.format(
        folders="".join(FOLDER.format(name=object_name(account)) for account in accounts),
        renderers=math.ceil(len(everybody) * RENDER / TURNS),
        reads="".join(READ.format(names=names) for names in reads),
        rules="".join(RULE.format(name=object_name(account), account=account) for account in accounts),
    )
    (HERE / "kustomization.yaml").write_text(component)


if __name__ == "__main__":
    generate(read((HERE / "accounts").read_text()))
