"""Files of `deploy/` are valid, consistent, and fit the program.

That they run is tested by `test_nginx.py` and `tests/image/run.py`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import crossplane
import kubernetes_validate
import pytest
import yaml

from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.gate import BODY_LIMIT
from bitrix24_directories.team.serving import GRACE_SECONDS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SETTINGS = {f"BITRIX24_{field.upper()}" for field in Settings.model_fields}
REPLICAS = ["directories-1", "directories-2"]
UNIT = DEPLOY / "bitrix24-directories-mcp@.service"
PORT = 8080


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return loaded


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def instruction(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


def served_at(arguments: list[str]) -> str:
    at: str = parser().parse_args(arguments).http
    return at


def test_the_image_runs_what_there_is() -> None:
    *_, program = json.loads(instruction("ENTRYPOINT")[-1])
    assert program == "bitrix24-directories-mcp"
    assert served_at(json.loads(instruction("CMD")[-1])) == f"0.0.0.0:{PORT}"
    assert instruction("EXPOSE") == [str(PORT)]
    assert instruction("USER") == ["10001"]
    for line in instruction("COPY"):
        if not line.startswith("--from"):
            for path in shlex.split(line)[:-1]:
                assert (ROOT / path).exists(), path
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "team" in extras
    assert "'.[team]'" in DOCKERFILE


def test_replicas_are_alike_and_no_container_harms(services: dict[str, Any]) -> None:
    first, second = ({**services[name], "hostname": ""} for name in REPLICAS)
    assert first == second
    assert int(first["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS
    assert {*first["environment"]} <= SETTINGS
    assert first["environment"]["BITRIX24_ALLOW_WRITES"] == "false"
    assert first["environment"]["BITRIX24_REDIS_URL"].startswith("redis://valkey:")
    folder = str(Path(first["environment"]["BITRIX24_PEOPLE"]).parent)
    assert f"./people:{folder}:ro" in first["volumes"]  # a mounted file would not be replaced
    assert services["person"]["volumes"] == [f"./people:{folder}"]
    assert services["person"]["environment"] == first["environment"]
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert {"max-size", "max-file"} <= {*service["logging"]["options"]}, name
        assert re.search(r":\d+\.\d+\.\d+[-\w]*$", service["image"]), name


def test_the_proxy_leads_to_the_replicas_and_to_nothing_else(services: dict[str, Any]) -> None:
    parsed = crossplane.parse(str(DEPLOY / "nginx.conf"), check_ctx=True, check_args=True)
    assert parsed["status"] == "ok", parsed["errors"]
    lines = list(directives(parsed["config"][0]["parsed"]))
    names = Counter(name for name, _ in lines)
    assert "proxy_next_upstream" not in names  # its default repeats no POST that was sent
    single = {name: arguments for name, arguments in lines if names[name] == 1}
    assert single["set"] == ["$replicas", f"directories:{PORT}"]
    assert all("directories" in services[name]["networks"]["default"]["aliases"] for name in REPLICAS)
    assert {*services["proxy"]["depends_on"]} == {*REPLICAS}
    assert [arguments for name, arguments in lines if name == "location"] == [
        ["=", "/mcp"],
        ["/.well-known/oauth-protected-resource"],
        ["/"],
    ]
    assert single["proxy_buffering"] == ["off"]
    assert int(single["client_max_body_size"][0].removesuffix("m")) * 2**20 == BODY_LIMIT
    environment = services[REPLICAS[0]]["environment"]
    assert f"https://{single['server_name'][0]}/mcp" == environment["BITRIX24_PUBLIC_URL"]
    assert int(single["worker_rlimit_nofile"][0]) >= 2 * int(single["worker_connections"][0])
    assert services["proxy"]["ulimits"]["nofile"] == int(single["worker_rlimit_nofile"][0])


def directives(block: list[dict[str, Any]]) -> Any:
    for line in block:
        yield line["directive"], line["args"]
        yield from directives(line.get("block", []))


def test_the_kubernetes_manifest_is_valid_and_fits(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.34", strict=True)
    by_name = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
    for (kind, name), manifest in by_name.items():
        if kind == "Deployment":
            pod = manifest["spec"]["template"]
            assert ("Service", name) in by_name
            assert ("NetworkPolicy", name) in by_name
            assert pod["metadata"]["labels"] == manifest["spec"]["selector"]["matchLabels"]
            assert pod["spec"]["securityContext"]["runAsNonRoot"]
            (container,) = pod["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]["memory"]
            assert {"readinessProbe", "livenessProbe"} <= container.keys()
    spec = by_name["Deployment", "directories"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > GRACE_SECONDS + pause
    settings = by_name["ConfigMap", "directories"]["data"]
    assert settings.keys() <= SETTINGS
    assert settings["BITRIX24_ALLOW_WRITES"] == "false"
    (mounted,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "people")
    assert mounted == str(Path(settings["BITRIX24_PEOPLE"]).parent)
    assert f"redis://{by_name['Service', 'directories-valkey']['metadata']['name']}:" in settings["BITRIX24_REDIS_URL"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is of the system's packages")
def test_the_systemd_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    text = UNIT.read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    program, *arguments = start.replace("%i", str(PORT)).split()
    assert Path(program).name == "bitrix24-directories-mcp"
    assert served_at(arguments) == f"127.0.0.1:{PORT}"
    assert {*re.findall(r"\b(BITRIX24_\w+)=", text)} <= SETTINGS
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(seconds) > GRACE_SECONDS
    (tmp_path / UNIT.name).write_text(text.replace(program, sys.executable))
    instance = UNIT.name.replace("@", f"@{PORT}")
    for check in (["verify", f"./{instance}"], ["security", "--offline=true", "--threshold=15", f"./{UNIT.name}"]):
        done = subprocess.run(["systemd-analyze", *check], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr
