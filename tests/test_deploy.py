"""What `deploy/` says fits together and fits the program; no container engine is needed for that."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml

from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.cli.main import COMMANDS
from bitrix24_directories.settings import Settings
from bitrix24_directories.team import door
from bitrix24_directories.team.gate import BODY_LIMIT
from bitrix24_directories.team.serving import GRACE_SECONDS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
REPLICAS = ["directories-1", "directories-2"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def instruction(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


def test_the_image_runs_what_there_is() -> None:
    *_, program = json.loads(instruction("ENTRYPOINT")[-1])
    assert program == "bitrix24-directories-mcp"
    args = parser(COMMANDS).parse_args(json.loads(instruction("CMD")[-1]))
    (port,) = instruction("EXPOSE")
    assert args.http == f"0.0.0.0:{port}"
    assert f"http://127.0.0.1:{port}/healthz" in instruction("HEALTHCHECK")[0]
    assert instruction("USER") == ["10001"]


def test_what_the_image_copies_exists() -> None:
    for line in instruction("COPY"):
        if not line.startswith("--from"):
            for path in shlex.split(line)[:-1]:
                assert (ROOT / path).exists(), path
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "team" in extras
    assert "'.[team]'" in DOCKERFILE


def test_replicas_are_alike_and_harmless(services: dict[str, Any]) -> None:
    one, two = (services[name] for name in REPLICAS)
    assert one == two
    assert one["read_only"]
    assert one["cap_drop"] == ["ALL"]
    assert int(one["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS
    assert {"max-size", "max-file"} <= {*one["logging"]["options"]}
    known = {f"BITRIX24_{field.upper()}" for field in Settings.model_fields}
    assert {*one["environment"]} <= known
    assert one["environment"]["BITRIX24_REDIS_URL"].startswith("redis://valkey:")
    assert "valkey" in services
    folder = str(Path(one["environment"]["BITRIX24_PEOPLE"]).parent)
    assert f"./people:{folder}:ro" in one["volumes"]  # a mounted file would not be replaced


def test_the_proxy_leads_to_the_replicas_and_to_nothing_else(services: dict[str, Any]) -> None:
    parsed = crossplane.parse(str(DEPLOY / "nginx.conf"), check_ctx=True, check_args=True)
    assert parsed["status"] == "ok", parsed["errors"]
    (port,) = instruction("EXPOSE")
    http = next(block for block in parsed["config"][0]["parsed"] if block["directive"] == "http")["block"]
    upstream = next(block for block in http if block["directive"] == "upstream")
    servers = [line["args"][0] for line in upstream["block"] if line["directive"] == "server"]
    (unused,) = (line["args"][0] for line in upstream["block"] if line["directive"] == "keepalive_timeout")
    assert int(unused.removesuffix("s")) < door.SECONDS  # or a request meets a connection that is just being closed
    assert servers == [f"{name}:{port}" for name in REPLICAS]
    server = next(block for block in http if block["directive"] == "server")["block"]
    locations = {" ".join(block["args"]): block["block"] for block in server if block["directive"] == "location"}
    assert locations.keys() == {"= /mcp", "/.well-known/oauth-protected-resource", "/"}
    endpoint = {line["directive"]: line["args"] for line in locations["= /mcp"]}
    assert endpoint["proxy_next_upstream"] == ["off"]
    assert endpoint["proxy_buffering"] == ["off"]
    (limit,) = (line["args"][0] for line in server if line["directive"] == "client_max_body_size")
    assert int(limit.removesuffix("m")) * 2**20 == BODY_LIMIT
    (name,) = (line["args"][0] for line in server if line["directive"] == "server_name")
    assert f"https://{name}/mcp" == services[REPLICAS[0]]["environment"]["BITRIX24_PUBLIC_URL"]
    assert services["proxy"]["depends_on"] == REPLICAS
