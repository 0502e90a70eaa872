"""Examples of what is sent and answered, for the description of the API: made from the fields, but for those below."""

from typing import Any

Schema = dict[str, Any]
Described = dict[str, Any]

# What is sent, where a value made from the field's type alone would be refused or say nothing.
SENT: dict[str, Any] = {
    "submit_judgement": {"choice": 2, "rationale": "It answers what was asked."},
    "create_project": {"name": "Everyday help", "template": "summaries"},
    "change_project": {"description": "What people ask about at home.", "overlap": 2},
    "copy_project": {"name": "Everyday help, again", "with_prompts": True},
    "export_project": {"with_models": False, "with_people": True},
    "start_round": {"label_target": 400},
    "start_run": {"stage": "reward"},
    "override_gate": {"reason": "The figure is of six tasks."},
    "change_round_settings": {"values": {"kl_target": 6.5}, "reset": ["alarms.kl"]},
    "change_rows": {"change": "tag", "ids": [12, 13], "value": "bread"},
    "erase": {"kind": "prompt", "id": 12, "dry_run": True},
    "check_import": {"format": None, "choice": 2},
    "add_model": {"location": "/models/mine"},
    "check_model": {"location": "/models/mine"},
    "add_served_model": {"name": "lab", "address": "https://models.example/v1", "model": "mistral-small"},
    "change_served_model": {"model": "mistral-large"},
    "ask_served_model": {"prompts": 200, "compared": ["served:3", "policy:7"]},
    "make_pairs": {"compared": ["served:3", "served:4"], "pairs": 100},
    "invite": {"people": [{"name": "Ada", "email": "ada@example.org"}], "role": "annotator"},
    "add_person": {"person": "ada@example.org", "role": "reviewer"},
    "change_member": {"paused": True},
    "change_account": {"disabled": True},
    "write_gold": {
        "prompt": "How long do eggs boil?",
        "responses": ["Seven minutes.", "It depends."],
        "better": 0,
        "explanation": "It says so.",
    },
    "make_gold": {"better": 0, "explanation": "It says so."},
    "change_gold": {"is_in_use": False},
    "change_checks": {"gold_percent": 5, "tells_gold": True},
    "change_review": {"prefers_verdicts": True},
    "change_me": {"name": "Ada"},
    "add_prompts": {"prompts": [{"messages": [{"role": "user", "content": "How long do eggs boil?"}]}]},
}
_BY_NAME: dict[str, Any] = {
    "slug": "everyday-help",
    "name": "Everyday help",
    "email": "ada@example.org",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "text": "Seven minutes for a soft one.",
    "content": "How long do eggs boil?",
    "next_cursor": None,
}
DEEPEST = 8
MOMENT = "2026-01-01T12:00:00Z"


def give(document: Described) -> None:
    """Put an example beside every body of an OpenAPI document that is JSON."""
    for item in document["paths"].values():
        for operation in item.values():
            _give(document, operation.get("requestBody", {}), SENT.get(operation["operationId"]))
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    _give(document, answer, None)


def _give(document: Described, body: Described, example: Any) -> None:
    content = body.get("content", {}).get("application/json")
    if content is not None and content.get("schema"):
        content["example"] = example if example is not None else _made(document, content["schema"], "", 0)


def _made(document: Described, schema: Schema, name: str, depth: int) -> Any:
    if "$ref" in schema:
        return _made(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], name, depth)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "anyOf" in schema or "oneOf" in schema:
        return _made(document, (schema.get("anyOf") or schema["oneOf"])[0], name, depth)
    if schema.get("type") == "object" or "properties" in schema:
        return {
            field: _made(document, described, field, depth + 1)
            for field, described in schema.get("properties", {}).items()
            if depth < DEEPEST
        }
    if schema.get("type") == "array":
        return _listed(document, schema, depth)
    return _plain(schema, name)


def _listed(document: Described, schema: Schema, depth: int) -> list[Any]:
    one = _made(document, schema.get("items", {}), "", depth + 1) if depth < DEEPEST else None
    return [one] * max(1, schema.get("minItems", 0)) if one is not None else []


def _plain(schema: Schema, name: str) -> Any:
    """A number, a text, or whatever else is no structure."""
    kind = schema.get("type")
    if name in _BY_NAME and kind in {"string", None}:
        return _BY_NAME[name]
    if schema.get("format") == "date-time":
        return MOMENT
    if schema.get("format") == "date":
        return MOMENT[:10]
    least = schema.get("minimum", 1)
    return {"integer": int(least), "number": float(least), "boolean": False, "string": "…"}.get(str(kind))
