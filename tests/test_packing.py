"""Packages built from the sources, and the places of the version.

`tests/packing/run.py` tries the packages in empty environments.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import bundle
import jsonschema
import pytest
import release
import yaml

from bitrix24_directories import __version__
from bitrix24_directories.settings import Settings
from test_stdio import HANDSHAKE

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SETTINGS = {f"BITRIX24_{field.upper()}" for field in Settings.model_fields}
VARIABLE = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"enum": sorted(SETTINGS)},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "default": {"type": "string"},
        "isSecret": {"type": "boolean"},
    },
}
REGISTRY = {
    "type": "object",
    "required": ["$schema", "name", "description", "version", "packages"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {"type": "string", "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "maxLength": 200},
        "title": {"type": "string", "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "repository": {"type": "object", "required": ["url", "source"]},
        "packages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["registryType", "identifier", "transport"],
                "properties": {
                    "fileSha256": {"type": "string", "pattern": "^[a-f0-9]{64}$"},
                    "transport": {"type": "object", "required": ["type"], "properties": {"type": {"const": "stdio"}}},
                    "environmentVariables": {"type": "array", "items": VARIABLE},
                },
                "allOf": [
                    {
                        "if": {"properties": {"registryType": {"const": "mcpb"}}},
                        "then": {"required": ["fileSha256"]},
                    },
                    {
                        "if": {"properties": {"registryType": {"const": "oci"}}},
                        "then": {"not": {"required": ["version"]}, "properties": {"identifier": {"pattern": r":\d"}}},
                    },
                ],
            },
        },
    },
}
"""Rules of the registry's schema of 2025-12-11, and of its documentation, that apply to us."""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundle, "BUNDLE", tmp_path / "bitrix24-directories.mcpb")
    return bundle.build(bundle.BUNDLE)


def test_the_registry_is_told_by_its_rules(built: Path) -> None:
    published = release.with_bundle("https://example.com/bitrix24-directories.mcpb")
    for described in (release.server_json(), published):
        jsonschema.validate(described, REGISTRY)
    assert published["packages"][-1]["fileSha256"] == hashlib.sha256(built.read_bytes()).hexdigest()
    secrets = {
        variable["name"] for variable in published["packages"][-1]["environmentVariables"] if variable.get("isSecret")
    }
    assert secrets == {"BITRIX24_WEBHOOK_URL"}


def test_the_readme_and_the_image_carry_the_registrys_name() -> None:
    name = release.server_json()["name"]
    assert f"<!-- mcp-name: {name} -->" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'io.modelcontextprotocol.server.name="{name}"' in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert release.versions() == dict.fromkeys(release.versions(), __version__)
    assert len(release.versions()) == 8
    assert release.main(["check", f"v{__version__}"]) == 0


@pytest.mark.parametrize("tag", ["v9.9.9", __version__, "v0.1", "", f"v{__version__}-rc1"])
def test_a_tag_that_is_not_the_version_is_refused(tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", tag]) == 1
    assert len(capsys.readouterr().err.splitlines()) == len(release.versions())


@pytest.mark.parametrize("index", range(6))
def test_each_place_with_another_version_is_named(
    index: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = list(release.versions())[index]
    changed = release.versions() | {name: "9.9.9"}
    monkeypatch.setattr(release, "versions", lambda: changed)
    assert release.main(["check", f"v{__version__}"]) == 1
    assert capsys.readouterr().err == f"v{__version__} differs from {name}: 9.9.9\n"


def test_the_bundle_is_whole_small_and_always_the_same(built: Path, tmp_path: Path) -> None:
    again = bundle.build(tmp_path / "again.mcpb")
    assert built.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
        assert all(archive.getinfo(name).file_size <= bundle.LARGEST_FILE for name in names)
    assert {"manifest.json", "pyproject.toml", "README.md", "LICENSE", "server/main.py"} <= set(names)
    package = ROOT / "server" / "bitrix24_directories"
    sources = {
        f"server/{path.relative_to(ROOT / 'server').as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".lock", ".env"))]


def test_a_file_that_the_installer_would_break_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match=r"larger than 100 bytes: .*LICENSE"):
        bundle.build(tmp_path / "bundle.mcpb")


def test_the_form_asks_for_a_webhook_that_is_kept_secret_and_writes_are_off() -> None:
    manifest = bundle.manifest()
    user_config = manifest["user_config"]
    assert user_config["webhook_url"] | {"description": ""} == {
        "type": "string",
        "title": "Inbound webhook",
        "description": "",
        "sensitive": True,
        "required": True,
    }
    assert user_config["allow_writes"]["default"] is False
    environment = manifest["server"]["mcp_config"]["env"]
    assert {*environment} <= SETTINGS
    assert {value[len("${user_config.") : -1] for value in environment.values()} == {*user_config}
    assert "default" in user_config["plan"]  # an empty form field would not replace the variable


@pytest.mark.slow
def test_the_bundle_starts_from_its_own_folder(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder)
    own = folder / "server" / "bitrix24_directories" / "__init__.py"  # not the package that is installed here
    own.write_text(own.read_text(encoding="utf-8").replace(__version__, f"{__version__}+bundle"), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "server/main.py"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({"jsonrpc": "2.0"} | HANDSHAKE[0]).encode() + b"\n")
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["result"]["serverInfo"]["version"] == f"{__version__}+bundle"


def test_the_release_builds_attests_and_refuses_first() -> None:
    workflow: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    jobs = workflow["jobs"]
    assert workflow[True]["push"]["tags"] == ["v*"]  # YAML reads `on` as true
    steps = jobs["build"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs[0] == 'python deploy/release.py check "$GITHUB_REF_NAME"'
    assert any("python -m build" in run and "python deploy/bundle.py" in run for run in runs)
    for job in ("build", "image"):
        assert any(
            str(step.get("uses", "")).startswith("actions/attest-build-provenance@") for step in jobs[job]["steps"]
        )
    assert set(jobs["publish"]["needs"]) == {"build", "image"}
    assert workflow["permissions"] == {}
    for run in [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]:
        for path in re.findall(r"(?:python3?|bash) ((?:deploy|tests|\.ci)/\S+)", run):
            assert (ROOT / path).exists(), path
