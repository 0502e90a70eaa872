"""What can be said of the images and the compose file without an engine to build them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer.main
import yaml

import app.cli.deployment
import app.cli.worker
from app.settings import load_settings, variables
from app.web.main import health

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}

DURATION = {"type": "string", "pattern": r"^\d+(s|m)$"}
HEALTHCHECK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "disable": {"type": "boolean"},
        "test": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "interval": DURATION,
        "timeout": DURATION,
        "start_period": DURATION,
        "retries": {"type": "integer"},
    },
}
# Of the compose specification, what this file uses: a misspelt key must not pass.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string"},
        "volumes": {"type": "object"},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "image": {"type": "string"},
                    "build": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"context": {"const": "."}, "target": {"type": "string"}},
                    },
                    "profiles": {"type": "array"},
                    "command": {"type": "array", "items": {"type": "string"}},
                    "environment": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                    "volumes": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+:/"}},
                    "ports": {"type": "array", "items": {"type": "string"}},
                    "tmpfs": {"type": "array"},
                    "init": {"type": "boolean"},
                    "read_only": {"type": "boolean"},
                    "cap_drop": {"type": "array"},
                    "security_opt": {"type": "array"},
                    "shm_size": {"type": "string"},
                    "restart": {"enum": ["no", "always", "unless-stopped"]},
                    "stop_grace_period": DURATION,
                    "healthcheck": HEALTHCHECK,
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "properties": {"condition": {"pattern": "^service_(healthy|completed_successfully)$"}},
                            "required": ["condition"],
                            "additionalProperties": False,
                        },
                    },
                },
            },
        },
    },
}


def test_the_compose_file_has_no_key_that_compose_does_not_know() -> None:
    jsonschema.validate(COMPOSE, SCHEMA)


def test_services_name_volumes_services_and_targets_that_exist() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"]), name
        if "build" in service:
            assert service["build"]["target"] in stages, name


def test_every_service_of_ours_is_confined_and_watched() -> None:
    for name, service in OURS.items():
        assert service["init"] is True, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy", name
    for name in ("worker", "trainer"):
        assert SERVICES[name]["restart"] == "always"
        assert "test" in SERVICES[name]["healthcheck"]
    assert SERVICES["trainer"]["profiles"] == ["trainer"]
    assert SERVICES["postgres"]["image"] == "postgres:18"


def test_services_set_variables_that_are_settings() -> None:
    for service in OURS.values():
        load_settings(
            {name: re.sub(r"\$\{\w+:[-?](.*?)\}", r"\1", value or "") for name, value in service["environment"].items()}
        )
        image_sets = re.findall(r"\b(PLUMBLINE_\w+)=(\S+)", DOCKERFILE)
        load_settings(dict(image_sets))


def test_a_provider_backups_figures_and_traces_can_be_chosen_for_containers() -> None:
    chosen = [name for name in variables() if re.match(r"PLUMBLINE_(OIDC|BACKUP|METRICS|TRACES)", name)]
    assert len(chosen) >= 13
    for name, service in OURS.items():
        assert set(chosen) <= set(service["environment"]), name
        passed = {key: value for key, value in service["environment"].items() if "$" in str(value)}
        assert all(f"${{{key}:" in value for key, value in passed.items() if key in chosen), name
    # None but the worker that writes backups holds the keys of their storage.
    holders = [name for name, service in OURS.items() if "AWS_SECRET_ACCESS_KEY" in service["environment"]]
    assert holders == ["worker"]


def test_every_queue_is_served_by_one_service() -> None:
    assert sorted(SERVICES[name]["environment"]["PLUMBLINE_QUEUES"] for name in ("worker", "trainer")) == [
        "steps",
        "training",
    ]


def test_every_command_is_one_of_the_command_line() -> None:
    ours = typer.main.get_command(app.cli.app).commands  # type: ignore[attr-defined]
    commands = [service["command"] for service in OURS.values()]
    commands += [
        service["healthcheck"]["test"][1:] for service in OURS.values() if "test" in service.get("healthcheck", {})
    ]
    commands += [
        json.loads(line) for line in re.findall(r"^ *(?:HEALTHCHECK .*)?CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)
    ]
    assert len(commands) >= 9
    for program, *arguments in commands:
        if program == "plumbline":
            assert arguments[0] in ours, arguments
        else:
            assert program == "python", program
            assert "/readyz" in arguments[1]
            compile(arguments[1], "the image's health check", "exec")
    assert "/readyz" in {getattr(route, "path", None) for route in health.routes}


def test_every_path_that_is_copied_exists_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in sent, source


def test_both_images_run_as_somebody_else_than_root() -> None:
    for target in ("web", "trainer"):
        final = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert "USER plumbline" in final
        assert "HEALTHCHECK" in final


def test_both_images_look_for_models_of_a_hub_in_the_same_folder_of_the_volume() -> None:
    base = DOCKERFILE.split(" AS base\n")[1].split("\nFROM ")[0]
    assert "HF_HOME=/data/huggingface" in base
    assert DOCKERFILE.count("HF_HOME") == 1


def test_base_image_is_pinned_to_a_release() -> None:
    assert re.search(r"^FROM python:3\.\d+\.\d+-slim-\w+ AS base$", DOCKERFILE, flags=re.MULTILINE)


def test_the_lock_has_its_sections_in_order_and_no_torch() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^# --- (\w+)$", lock, flags=re.MULTILINE) == ["install", "web", "docs", "train", "dev"]
    assert not re.search(r"^(torch|nvidia|triton)", lock, flags=re.MULTILINE)
    assert "://" not in lock
    requirements = re.findall(r"^[a-z][^\n]*\\\n(?:    [^\n]*\\\n)*    [^\n]*$", lock, flags=re.MULTILINE)
    assert len(requirements) == len(re.findall(r"^[a-z]", lock, flags=re.MULTILINE))
    assert all("--hash=sha256:" in requirement for requirement in requirements)


# Makes torch and its kin as absent as they are from the web image.
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "tokenizers", "safetensors"):
    sys.modules[name] = None
import app.cli.main, app.jobs.worker, app.web.main
print("imported")
"""
# What settings ask for by importing it late.
EXTRAS = """
import authlib.integrations.httpx_client, authlib.jose, obstore.store
import opentelemetry.sdk.trace.export, opentelemetry.exporter.otlp.proto.http.trace_exporter
"""


def test_site_and_worker_import_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.slow
def test_the_web_section_of_the_lock_alone_runs_the_site_and_the_worker(tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    lock = (ROOT / "requirements.lock").read_text()
    web = re.search(r"^# --- web\n.*?(?=^# --- docs)", lock, flags=re.MULTILINE | re.DOTALL)
    assert web is not None
    (tmp_path / "web.lock").write_text(web.group())
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, tmp_path / "venv"], check=True)
    install = [*uv, "pip", "install", "--python", python, "--no-deps", "--require-hashes"]
    subprocess.run([*install, "-r", tmp_path / "web.lock"], check=True)
    subprocess.run([*uv, "pip", "check", "--python", python], check=True)
    program = EXTRAS + WITHOUT_TORCH
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "imported\n", done.stderr
    listed = subprocess.run([*uv, "pip", "list", "--python", python], capture_output=True, text=True, check=True).stdout
    assert "fastapi" in listed
    assert "torch" not in listed
