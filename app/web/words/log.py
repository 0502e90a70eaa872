"""The log of changes as people read it: what an entry tells of, and each value before and after."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.db.base import Json
from app.db.tables import AuditEntry
from app.services.audit import PEOPLE_COLUMNS, person_in
from app.spreadsheets import csv_text
from app.web.locales import gettext, lazy

KINDS: dict[str, str] = {
    "api_tokens": lazy("API token"),
    "bulk_changes": lazy("change of many rows"),
    "dataset_versions": lazy("dataset version"),
    "erasure": lazy("erasure"),
    "export": lazy("export"),
    "gold_answers": lazy("gold task"),
    "group_grants": lazy("group’s project"),
    "group_members": lazy("group’s member"),
    "groups": lazy("group"),
    "imports": lazy("import"),
    "invitations": lazy("invitation"),
    "judges": lazy("judge"),
    "members": lazy("member"),
    "passkeys": lazy("passkey"),
    "password": lazy("password"),
    "projects": lazy("project"),
    "promotions": lazy("promotion"),
    "restore": lazy("restored backup"),
    "rounds": lazy("round"),
    "runs": lazy("run"),
    "served_models": lazy("served model"),
    "sign_in": lazy("sign-in"),
    "sign_in_failed": lazy("failed sign-in"),
    "sign_in_links": lazy("sign-in link"),
    "sign_out": lazy("end of sessions"),
    "token_use": lazy("use of an API token"),
    "users": lazy("person"),
    "webhooks": lazy("webhook"),
}
ACTIONS: dict[str, str] = {
    "insert": lazy("made"),
    "update": lazy("changed"),
    "delete": lazy("removed"),
    "done": lazy("done"),
}
DOORS: dict[str, str] = {
    "page": lazy("page"),
    "api": lazy("API"),
    "command": lazy("command line"),
    "worker": lazy("worker"),
    "database": lazy("database"),
}
COLUMNS = ("id", "at", "actor_id", "actor", "door", "request_id", "project_id", "kind", "subject", "action")


@dataclass(frozen=True)
class Change:
    """One value of an entry; None where there was none, or is none any more."""

    name: str
    before: str | None
    after: str | None


def kind_name(kind: str) -> str:
    """What a kind of thing is called; the table's own name where nobody has called it anything."""
    return str(KINDS.get(kind, kind.replace("_", " ")))


def subject_name(entry: AuditEntry, names: Mapping[int, str], slugs: Mapping[int, str]) -> str:
    """What the entry tells of: “member: Ada”, “round 12”, “project tea”."""
    person = person_in(entry)
    if person is not None and person in names:
        return f"{kind_name(entry.kind)}: {names[person]}"
    told = {**(entry.before or {}), **(entry.after or {})}
    slug = slugs.get(entry.project_id or 0) if entry.kind == "projects" else None
    called = told.get("slug") or slug or told.get("number") or entry.subject
    return f"{kind_name(entry.kind)} {called}"


def changes(entry: AuditEntry, names: Mapping[int, str]) -> list[Change]:
    """Every value that differs, those inside of a column of settings by their own names."""
    before, after = _flat(entry.before or {}), _flat(entry.after or {})
    return [
        Change(name, _shown(name, before.get(name), names), _shown(name, after.get(name), names))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name) or before.get(name) == "…"
    ]


def json_row(entry: AuditEntry, names: Mapping[int, str]) -> Json:
    """One entry for a program, as it stands in the log; with the name that the actor has now."""
    row: dict[str, Any] = {name: getattr(entry, name, None) for name in COLUMNS}
    row["at"] = entry.at.isoformat()
    row["actor"] = names.get(entry.actor_id) if entry.actor_id is not None else None
    return row | {"before": entry.before, "after": entry.after}


def json_lines(entries: list[AuditEntry], names: Mapping[int, str]) -> str:
    """Entries as JSON Lines."""
    return "".join(json.dumps(json_row(entry, names), ensure_ascii=False) + "\n" for entry in entries)


def csv_lines(entries: list[AuditEntry], names: Mapping[int, str], *, header: bool) -> str:
    """Entries as CSV, the values before and after as JSON."""
    rows: list[list[object]] = [[*COLUMNS, "before", "after"]] if header else []
    for entry in entries:
        row = json_row(entry, names)
        told = [json.dumps(row[name], ensure_ascii=False) if row[name] else "" for name in ("before", "after")]
        rows.append([*(row[name] for name in COLUMNS), *told])
    return csv_text(rows)


def _flat(told: Json, prefix: str = "") -> dict[str, Any]:
    return dict(_leaves(told, prefix))


def _leaves(told: Json, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(name: str, value: object, names: Mapping[int, str]) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if name in PEOPLE_COLUMNS and isinstance(value, int) and value in names:
        return names[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
