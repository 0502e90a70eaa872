"""Whatever anybody sends to any operation of the API, nothing breaks, and the description tells of every answer:
Schemathesis makes requests up from that, half of them as it says and half not.
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode

from tests.browser.seed import Seeded
from tests.browser.seed.versions import write_models
from tests.client.served import served

schemathesis.serializer.alias("application/zip", "application/octet-stream")

NO_NUL = r"^[^\x00]*$"
ROLES = ("owner", "reviewer", "annotator", "outsider")
IDS = range(1, 12)  # rows of the seeded project have such ones
PIECES = 4
WAITING = ("/generate", "/score", "/errands")


@pytest.fixture
def address(seeded_url: str, tmp_path: Path) -> Iterator[str]:
    write_models(tmp_path)
    with served(seeded_url, tmp_path, works=False) as site:
        yield site.url


def test_no_request_made_up_from_the_description_ends_in_an_error_of_ours_or_in_what_it_does_not_tell(
    address: str, tokens: dict[str, str], seeded: Seeded, seeded_url: str
) -> None:
    assert _broken(address, tokens["owner"], seeded, seeded_url, examples=1, derandomize=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("piece", range(PIECES))
def test_nor_does_one_of_many_that_are_drawn_now_whoever_asks(
    piece: int, role: str, address: str, tokens: dict[str, str], seeded: Seeded, seeded_url: str
) -> None:
    some = slice(piece, None, PIECES)
    assert _broken(address, tokens[role], seeded, seeded_url, examples=60, derandomize=False, some=some) == []


def _broken(
    address: str,
    token: str,
    seeded: Seeded,
    database_url: str,
    *,
    examples: int,
    derandomize: bool,
    some: slice = slice(None),
) -> list[str]:
    """The requests to some operations that an error of ours answered, with that answer. The owner is one of the site's
    admins.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE users SET is_admin = true WHERE id = %s", [seeded.owner.id])
    headers = {"Authorization": f"Bearer {token}"}
    described = httpx.get(f"{address}/api/v1/openapi.json", headers=headers, timeout=60)  # the first is made then
    schema = schemathesis.openapi.from_dict(_quick_to_compile(described.json()))
    schema.config.update(base_url=address)
    draws = random.Random(0)
    broken: list[str] = []

    def ask(case: Case) -> None:
        if case.method == "PATCH" and draws.random() < 0.5:
            case.headers["If-Match"] = "*"
        case.path_parameters = _that_lead_somewhere(case.path_parameters or {}, seeded.project.slug, draws)
        if isinstance(case.body, dict) and case.path.endswith(WAITING):
            case.body["wait_seconds"] = 0  # no worker is there to answer
        answer = case.call(headers=headers, timeout=60)
        if answer.status_code >= 500 or not _is_told_of(case, answer.status_code, answer.headers):
            broken.append(f"{case.as_curl_command()}: {answer.status_code} {answer.text[:200]}")

    operations = sorted((found.ok() for found in schema.get_all_operations()), key=_takes_away)
    assert len(operations) > 80
    for number, operation in enumerate(operations[some]):
        for mode in _modes(number, most=examples):
            drawn = settings(
                max_examples=examples,
                derandomize=derandomize,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            drawn(given(case=operation.as_strategy(mode))(ask))()
    return broken


def _quick_to_compile(described: Any) -> Any:
    """Without the pattern of bounded texts, that no NUL is in them: with the bounds it becomes a repetition of
    thousands, for which each schema that holds it takes a tenth of a second. NUL is drawn without it, too.
    """
    if isinstance(described, list):
        return [_quick_to_compile(value) for value in described]
    if not isinstance(described, dict):
        return described
    is_bounded = described.get("pattern") == NO_NUL and "maxLength" in described
    return {name: _quick_to_compile(value) for name, value in described.items() if name != "pattern" or not is_bounded}


def _modes(number: int, *, most: int) -> list[GenerationMode]:
    """Requests as the description says and others. Where each call is asked once, every other call gets the one or the
    other: what takes the time is to make up the first of a kind.
    """
    modes = list(GenerationMode)
    return modes if most > 1 else [modes[number % len(modes)]]


def _is_told_of(case: Case, status: int, headers: Mapping[str, list[str]]) -> bool:
    """Whether the description says so: the status, and that refusals are problem details."""
    if str(status) not in case.operation.definition.raw["responses"]:
        return False
    return status < 400 or headers["content-type"] == ["application/problem+json"]


def _that_lead_somewhere(made_up: dict[str, object], slug: str, draws: random.Random) -> dict[str, object]:
    """Half of what is made up for a path is exchanged for what there is, or nearly all of it would not be found."""

    def of(name: str, value: object) -> object:
        if draws.random() < 0.5:
            return value
        return slug if name == "slug" else draws.choice(IDS) if name.endswith("_id") else value

    return {name: of(name, value) for name, value in made_up.items()}


def _takes_away(operation: APIOperation) -> bool:
    """What does comes last, since after it little is found any more."""
    return operation.method.upper() == "DELETE" or operation.path.endswith("/archive")
