"""A training process reads models and texts of others: it knows nothing that opens a door and gains no rights."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.jobs.launch import Launch, LocalProcess

SECRETS = {
    "DATABASE_URL": "postgresql://plumbline:secret-word@db/plumbline",
    "PGPASSWORD": "secret-word",
    "PLUMBLINE_SECRET_KEY_FILE": "/run/secret-word",
    "HF_TOKEN": "secret-word",
    "HUGGINGFACE_HUB_TOKEN": "secret-word",
    "OPENAI_API_KEY": "secret-word",
    "AWS_SECRET_ACCESS_KEY": "secret-word",
    "TORCH_AUTHKEY": "secret-word",
    "HTTPS_PROXY": "http://me:secret-word@proxy:3128",
}
# What the process is, told by itself: environment as the kernel keeps it, whether it may gain rights, its core files.
TELL = (
    "import json, resource\n"
    "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
    "environment = open('/proc/self/environ').read().split('\\0')\n"
    "core = resource.getrlimit(resource.RLIMIT_CORE)\n"
    "print(json.dumps([environment, status['NoNewPrivs'].strip(), core]))\n"
)


async def told_by_a_child(tmp_path: Path, **settings: Any) -> tuple[list[str], str, list[int]]:
    program = tmp_path / "program.py"
    program.write_text(TELL)
    log = tmp_path / "log.txt"
    launch = Launch("sft", tmp_path / "config.json", tmp_path / "out", 1, log)
    child = await LocalProcess(("python", str(program)), **settings).start(launch)
    assert await child.wait() == 0, log.read_text()
    environment, no_new_privileges, core = json.loads(log.read_text().splitlines()[-1])
    return environment, no_new_privileges, core


@pytest.fixture(autouse=True)
def _a_worker_with_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


async def test_a_training_process_knows_no_address_of_the_database_and_no_secret(tmp_path: Path) -> None:
    environment, _, _ = await told_by_a_child(tmp_path)
    assert [line for line in environment if "secret-word" in line] == []
    assert not {line.split("=")[0] for line in environment} & set(SECRETS)


async def test_a_training_process_is_told_what_it_computes_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"CUDA_VISIBLE_DEVICES": "1", "HF_HOME": "/models", "PYTORCH_CUDA_ALLOC_CONF": "x", "LC_ALL": "C.UTF-8"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    environment, _, _ = await told_by_a_child(tmp_path, device="cuda:1", memory_bytes=10, threads=2, processes=3)
    told = kept | {"PLUMBLINE_DEVICE": "cuda:1", "PLUMBLINE_MEMORY_BYTES": "10", "OMP_NUM_THREADS": "2"}
    told["PLUMBLINE_PROCESSES"] = "3"
    assert {f"{name}={value}" for name, value in told.items()} <= set(environment)


async def test_an_admin_may_hand_on_a_variable_by_its_name(tmp_path: Path) -> None:
    environment, _, _ = await told_by_a_child(tmp_path, environment=("HF_TOKEN",))
    assert [line for line in environment if "secret-word" in line] == ["HF_TOKEN=secret-word"]


async def test_a_training_process_gains_no_rights_and_leaves_no_core_file(tmp_path: Path) -> None:
    _, no_new_privileges, core = await told_by_a_child(tmp_path)
    assert (no_new_privileges, core) == ("1", [0, 0])
