"""One version everywhere, the tool that changes it, and what the workflows on GitHub call."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import BANNER, TOP
from support.tools import VERSION, a_clone, files, tool

from k8s import manifests

WORKFLOWS = sorted((TOP / ".github/workflows").glob("*.yaml"))
SCRIPTS = TOP / ".github/scripts"

NEWS = "- It is new."

# Where this project's version stands. Other projects' versions stand beside it, and the changelog has earlier ones.
NUMBER = r"(\d+\.\d+\.\d+)"
SAID = (
    f'^__version__ = "{NUMBER}"$',
    f'org.opencontainers.image.version="{NUMBER}"',
    rf"(?:localhost|ghcr\.io/OWNER)/banner(?:-rehearsal)?:{NUMBER}",
    f"newName: ghcr.io/OWNER/banner, newTag: {NUMBER}",
    rf"OWNER/banner//k8s/[\w/-]+\?ref=v{NUMBER}",
    f"OWNER/banner/releases/download/v{NUMBER}",
    f"release.yaml@refs/tags/v{NUMBER}",
)


def versions(folder: Path) -> dict[str, set[str]]:
    """The versions that the project says it has, by the pattern of the place."""
    texts = [(folder / file).read_text() for file in files() if file.suffix not in (".gif", ".png")]
    return {place: {found for text in texts for found in re.findall(place, text, re.MULTILINE)} for place in SAID}


def test_every_place_says_the_one_version() -> None:
    assert versions(TOP) == {place: {VERSION} for place in SAID}


def test_the_script_says_it_too() -> None:
    assert subprocess.run([BANNER, "--version"], capture_output=True, text=True).stdout == f"banner {VERSION}\n"


def changelog(folder: Path) -> list[str]:
    """The titles of its sections."""
    return re.findall("^## (.*)$", (folder / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_changelog_begins_with_the_version_or_with_what_comes_after_it() -> None:
    dated = [title for title in changelog(TOP) if title != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)", dated[0])
    assert changelog(TOP) in (dated, ["Unreleased", *dated])


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of what is here, where something is new."""
    folder = tmp_path / "clone"
    for file in files():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / file, folder / file)
    (folder / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n{NEWS}\n\n## {VERSION} (2026-01-02)\n\n- It was.\n"
    )
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "new")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """What git prints, at work in that folder."""
    program = [a_clone(), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run([*program, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "tests/tools/release", *arguments], capture_output=True, text=True)


def test_the_tool_changes_every_place_and_nothing_else(clone: Path) -> None:
    done = release(clone, "98.7.6")
    assert (done.returncode, done.stderr) == (0, "")
    assert versions(clone) == {place: {"98.7.6"} for place in SAID}
    assert re.fullmatch(r"98\.7\.6 \(\d{4}-\d\d-\d\d\)", changelog(clone)[0])
    changed = [line for line in git(clone, "diff", "--unified=0").splitlines() if re.match("[+-][^+-]", line)]
    assert len(changed) % 2 == 0
    assert all(VERSION in line or line == "-## Unreleased" for line in changed if line.startswith("-"))
    git(clone, "commit", "--quiet", "--all", "--message", "Release")
    notes = subprocess.run([clone / ".github/scripts/notes", "v98.7.6"], capture_output=True, text=True)
    assert (notes.returncode, notes.stdout.strip()) == (0, NEWS)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("", "usage: tests/tools/release VERSION"),
        ("v98.7.6", "usage: tests/tools/release VERSION"),
        ("98.7", "usage: tests/tools/release VERSION"),
        (VERSION, f"{VERSION} is not after {VERSION}"),
        ("0.9.10", f"0.9.10 is not after {VERSION}"),
    ],
)
def test_what_is_no_next_version_is_told_and_changes_nothing(clone: Path, version: str, says: str) -> None:
    done = release(clone, version)
    assert done.returncode == 1
    assert done.stderr.startswith(says)
    assert git(clone, "status", "--porcelain") == ""


def test_a_tree_that_is_not_clean_is_told(clone: Path) -> None:
    (clone / "new").touch()
    done = release(clone, "98.7.6")
    assert (done.returncode, done.stderr) == (1, "the tree is not clean: commit or stash what git status shows\n")
    assert git(clone, "diff") == ""


def test_a_version_without_news_is_told(clone: Path) -> None:
    log = clone / "CHANGELOG.md"
    log.write_text(log.read_text().replace(NEWS, ""))
    git(clone, "commit", "--quiet", "--all", "--message", "nothing is new")
    done = release(clone, "98.7.6")
    assert done.returncode == 1
    assert done.stderr.startswith('CHANGELOG.md has nothing under "## Unreleased"')


def test_the_notes_of_a_tag_are_its_section_of_the_changelog() -> None:
    done = subprocess.run([SCRIPTS / "notes", f"v{VERSION}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in (TOP / "CHANGELOG.md").read_text()
    assert not re.search("^## ", done.stdout, re.MULTILINE)
    other = subprocess.run([SCRIPTS / "notes", "v0.0.1"], capture_output=True, text=True)
    assert (other.returncode, other.stdout) == (1, "")
    assert f"the tag v0.0.1 is on a commit that says {VERSION}" in other.stderr


# ------------------------------------------------------------------------------------------------ workflows


def steps(job: Any) -> Iterator[Any]:
    yield from [job] if "uses" in job else job["steps"]


def jobs() -> Iterator[tuple[str, Any]]:
    """Each job of a workflow, and its name."""
    for file in WORKFLOWS:
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            yield f"{file.name}: {name}", job


def test_every_action_is_pinned_by_a_commit_and_says_its_version() -> None:
    uses = [line for file in WORKFLOWS for line in file.read_text().splitlines() if re.search(r"\buses:", line)]
    pinned = re.compile(r" *(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
    assert uses
    assert [line for line in uses if not pinned.fullmatch(line) and "uses: ./.github/workflows/" not in line] == []
    assert len({line.split("uses: ")[1] for line in uses}) == len(
        {line.split("uses: ")[1].split("@")[0] for line in uses}
    )


def test_a_job_may_do_what_it_says_and_a_workflow_nothing() -> None:
    assert {str(yaml.safe_load(file.read_text())["permissions"]) for file in WORKFLOWS} == {"{}"}
    writes = {name: {of for of, may in job["permissions"].items() if may == "write"} for name, job in jobs()}
    assert {name: may for name, may in writes.items() if may} == {
        "release.yaml: image": {"packages", "id-token", "attestations"},
        "release.yaml: release": {"contents"},
    }


def test_no_workflow_asks_for_a_secret() -> None:
    assert [file.name for file in WORKFLOWS if "secrets." in file.read_text()] == []


def test_every_script_that_a_step_calls_is_there_and_every_script_is_called() -> None:
    runs = [step["run"] for _, job in jobs() for step in steps(job) if "run" in step]
    called = {path for run in runs for path in re.findall(r"(?<![\w/.])(?:\.github|\.ci|tests|k8s)/[\w/.-]+", run)}
    assert {path for path in called if not (TOP / path).exists()} == set()
    assert {f".github/scripts/{script.name}" for script in SCRIPTS.iterdir()} <= called


def test_each_kubernetes_that_the_readme_promises_is_tried() -> None:
    tried = dict(jobs())["cluster.yaml: rehearsal"]["strategy"]["matrix"]["kubernetes"]
    nodes = re.findall(
        r"\[(1\.\d+)\]=kindest/node:v\1\.\d+@sha256:[0-9a-f]{64}$", (SCRIPTS / "cluster").read_text(), re.MULTILINE
    )
    promised = re.findall(r"any Kubernetes (1\.\d+) to (1\.\d+)", (TOP / "k8s/README.md").read_text())
    assert tried == nodes
    assert promised == [(tried[0], tried[-1])]


def test_every_reason_to_skip_is_one_of_a_test() -> None:
    lines = (TOP / ".github/skipped").read_text().splitlines()
    reasons = [line for line in lines if not line.startswith("#")]
    assert len(reasons) * 2 == len(lines), "each has its reason above it"
    texts = [(TOP / file).read_text() for file in files() if file.suffix == ".py" and file.parts[0] == "tests"]
    assert [reason for reason in reasons if not any(reason in text for text in texts)] == []


@pytest.mark.parametrize(
    ("reason", "code"), [("needs a Kubernetes: set KUBECONFIG to an empty one", 0), ("needs faketime", 1)]
)
def test_a_skip_whose_reason_is_not_listed_is_a_failure(tmp_path: Path, reason: str, code: int) -> None:
    for file in (".github/skipped", ".github/scripts/tests"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / file, tmp_path / file)
    (tmp_path / "test_one.py").write_text(f"import pytest\ndef test_one():\n    pytest.skip({reason!r})\n")
    run = tmp_path / "tests/run"
    run.parent.mkdir()
    run.write_text('#!/bin/sh\nexec python -m pytest -ra -p no:cacheprovider "$@"\n')
    run.chmod(0o755)
    done = subprocess.run([tmp_path / ".github/scripts/tests", tmp_path], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("skipped for reasons that .github/skipped does not list" in done.stderr) == bool(code)


# ------------------------------------------------------------------------------------------------ manifests


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on this machine, 127.0.0.1:PORT."""
    disk = str(tmp_path_factory.mktemp("registry"))
    serve = [crane(), "registry", "serve", "--address", "127.0.0.1:0", "--disk", disk]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            yield "127.0.0.1:" + next(
                found[1] for line in process.stderr if (found := re.search(r"serving on port (\d+)$", line))
            )
        finally:
            process.terminate()


def crane() -> str:
    return tool("crane", ".ci/programs crane")


def push(image: str, content: str, folder: Path) -> str:
    """Pushes an image with that content; returns its digest."""
    (folder / "content").write_text(content)
    layer = shutil.make_archive(str(folder / "layer"), "tar", folder, "content")
    append = [crane(), "append", "--new_layer", layer, "--new_tag", image]
    return subprocess.run(append, check=True, capture_output=True, text=True).stdout.strip().partition("@")[2]


IMAGE_AT = r"(?:image: |--prometheus-config-reloader=)([^\s@]+)$"


@pytest.fixture(scope="module")
def rendered(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests of a release in a folder, and beside them each image's digest in the registry that has them all."""
    ours = "ghcr.io/someone/banner"
    names = {f"{ours}:1"}
    for folder in (".", *manifests.ADDONS):
        manifests.build(folder)  # or there is no kube-prometheus, and the test is skipped
        names |= {*re.findall(IMAGE_AT, manifests.kustomized(folder).stdout, re.MULTILINE)} - {
            f"localhost/banner:{VERSION}"
        }
    digests = {name: push(f"{registry}/{name}", name, tmp_path_factory.mktemp("layer")) for name in names}
    programs, out = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("rendered")
    (programs / "crane").write_text(f'#!/bin/sh\nexec {crane()} "$1" "{registry}/$2"\n')
    (programs / "crane").chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run([SCRIPTS / "manifests", out, f"{ours}@{digests[f'{ours}:1']}"], env=environment, check=True)
    (out / "digests.json").write_text(json.dumps(digests))
    return out


@pytest.mark.xdist_group("manifests")
def test_the_manifests_of_a_release_name_each_image_by_its_digest_and_bring_no_keys(rendered: Path) -> None:
    digests = json.loads((rendered / "digests.json").read_text())
    texts = {file.name: file.read_text() for file in rendered.glob("*.yaml")}
    assert texts.keys() == {
        "setup.yaml",
        "banner.yaml",
        "addon-kube-prometheus.yaml",
        "addon-kube-prometheus-stack.yaml",
    }
    assert [found for text in texts.values() for found in re.findall(IMAGE_AT, text, re.MULTILINE)] == []
    named = {found for text in texts.values() for found in re.findall(r"([^\s=]+)@(sha256:\w+)$", text, re.MULTILINE)}
    ours = {("ghcr.io/someone/banner", digests.pop("ghcr.io/someone/banner:1"))}
    assert named == {*digests.items()} | ours
    for name, text in texts.items():
        objects = [one for one in yaml.load_all(text, manifests.Loader) if one]
        assert [one for one in objects if one["kind"] == "Secret" and one["metadata"]["name"] == "banner-keys"] == []
        cronjobs = tuple(one for one in objects if one["kind"] == "CronJob")
        images = [container["image"] for _, container in manifests.containers(cronjobs)]
        assert images == ["@".join(pair) for pair in ours if name != "setup.yaml"]


@pytest.mark.xdist_group("manifests")
def test_what_the_readme_applies_of_a_release_is_for_the_account_that_it_names(rendered: Path) -> None:
    readme = (TOP / "k8s/README.md").read_text()
    there = f"https://github.com/OWNER/banner/releases/download/v{VERSION}"
    [line] = [line for line in readme.splitlines() if line.startswith("curl ")]
    get, _, apply = line.replace(there, rendered.as_uri()).rpartition(" | ")
    assert apply == "kubectl apply --server-side -f -"
    said = subprocess.run(["bash", "-o", "pipefail", "-c", get], check=True, capture_output=True, text=True).stdout
    assert said.replace("alice", "YOUR_ACCOUNT_NAME") == (rendered / "banner.yaml").read_text()
    assert said.count("alice") > 3
    assert {f"{there}/{file}" for file in ("setup.yaml", "banner.yaml")} == {*re.findall(rf"{there}/[\w.]+", readme)}


def test_what_the_readme_pulls_is_what_it_runs(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = tool("podman", "apt-get install podman")
    push(f"{registry}/owner/banner:{VERSION}", "what is pulled", tmp_path)
    mirror = f'[[registry]]\nprefix = "ghcr.io/owner"\nlocation = "{registry}/owner"\ninsecure = true\n'
    store = f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/images"\nrunroot = "{tmp_path}/run"\n'
    for name, text in {"CONTAINERS_REGISTRIES_CONF": mirror, "CONTAINERS_STORAGE_CONF": store}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(name, str(tmp_path / name))
    commands = re.findall("^docker (?:pull|tag) .*$", (TOP / "README.md").read_text(), re.MULTILINE)
    for command in commands:
        line = command.replace("docker", podman).replace("OWNER", "owner")
        subprocess.run(line.split(), check=True, capture_output=True)
    inspect = [podman, "image", "inspect", "--format", "{{.Digest}}"]
    named = [f"localhost/banner:{VERSION}", f"ghcr.io/owner/banner:{VERSION}"]
    digests = {subprocess.run([*inspect, name], check=True, capture_output=True).stdout for name in named}
    assert len(commands) == 2
    assert len(digests) == 1
