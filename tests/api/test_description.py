"""What the description of the API tells programs: examples that would be taken, and every refusal."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from app.web.api import routes

DOCUMENT = routes.openapi("test")


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for item in DOCUMENT["paths"].values():
        yield from item.items()


def test_every_body_has_an_example_that_its_own_schema_takes() -> None:
    shown = 0
    for _, operation in operations():
        answers = [told for status, told in operation["responses"].items() if status.startswith("2")]
        for body in (operation.get("requestBody", {}), *answers):
            content = body.get("content", {}).get("application/json")
            if content is not None and content.get("schema"):
                schema = {**content["schema"], "components": DOCUMENT["components"]}
                jsonschema_rs.Draft202012Validator(schema).validate(content["example"])
                shown += 1
    assert shown > 150


def test_every_refusal_is_told_of_as_problem_details() -> None:
    for method, operation in operations():
        told = operation["responses"]
        assert {"400", "401", "403", "404", "409", "422", "429", "503"} <= told.keys(), operation["operationId"]
        assert ("412" in told and "428" in told) == (method == "patch")
        for status, answer in told.items():
            # One of a part that a file doesn't have has no body.
            if status >= "400" and status != "416":
                assert list(answer["content"]) == ["application/problem+json"]
                assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)
