"""Bytes of others, changed at random (R11): read as they are or refused in a line, never an error of ours.

Rows of import files have tests of their own (tests/services/data/test_any_file.py), and so has what the API describes
(tests/api/test_anything.py).
"""

import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables.served import Protocol
from app.errors import Invalid
from app.services import accounts
from app.services.backups import restoring
from app.services.backups.manifest import path_of
from app.services.backups.places import place_at
from app.services.loop.models import artifacts
from app.services.loop.runs import base_models
from app.services.places.place import Content
from app.services.projects import packed_file, packing
from app.services.served import client as served_client
from app.services.served.protocol import Again, Answer, NoAnswer, Refused, answer_in, said_in
from app.settings import Settings
from app.web.api.schemas import CheckedModelOut
from tests.browser.people import session_token
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.faults.foreign import ODD, Draw, changed, damaged, written
from tests.served_endpoint import says
from tests.services.loop.test_base_models import CONFIG, write_model

FEW = 150
TWENTY_TIMES = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]
)


@contextmanager
def refused_in_a_line() -> Iterator[None]:
    """Or not at all."""
    try:
        yield
    except Invalid as refusal:
        if "\n" in refusal.message:
            raise


@TWENTY_TIMES
def test_a_model_folder_is_a_model_or_is_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    folder = write_model(tmp_path / "model", num_attention_heads=2, dtype="BF16")
    (folder / "manifest.json").write_text('{"kind": "policy", "format": 1, "files": {}}')
    files = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "model-00002-of-00002.safetensors"
    }
    settings = Settings(home=tmp_path / "home")
    header: dict[str, Any] = {"w": {"dtype": "BF16", "shape": [32, 8]}, "__metadata__": {"format": "pt"}}
    for _ in range(FEW):
        name = draw.choice(sorted(files))
        content = files[name]
        if name == "config.json" and draw.random() < 0.7:
            content = written(changed({**CONFIG, "num_attention_heads": 2, "head_dim": 4}, draw))
        elif name.endswith(".safetensors") and draw.random() < 0.7:
            told = written(changed(header, draw))
            content = struct.pack("<Q", draw.choice((len(told), len(told), 2**63, 0))) + told + bytes(16)
        else:
            content = damaged(content, draw)
        (folder / name).write_bytes(content)
        with refused_in_a_line():
            found = base_models.checked(settings, str(folder), folders=None)
            CheckedModelOut.model_validate(found).model_dump_json()
        (folder / name).write_bytes(files[name])


@TWENTY_TIMES
def test_a_trained_model_is_whole_or_broken(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    manifest = {"format": 1, "kind": "reward", "files": {"a": "0" * 64, "b/c": "1" * 64}, "lineage": {"run": 1}}
    for number in range(FEW):
        told = written(changed(manifest, draw))
        content = told if number % 2 else damaged(written(manifest), draw)
        (tmp_path / "manifest.json").write_bytes(content)
        try:
            artifacts.verify(tmp_path)
        except artifacts.ArtifactBroken:
            continue
        assert json.loads(content)["files"] == {}, "a folder without files is whole to whom names none"


@TWENTY_TIMES
def test_what_a_served_model_answers_is_a_response_or_none(seed: int) -> None:
    draw = random.Random(seed)
    good = json.loads(says("Boil it.", tool_calls=[]).content)
    failed = {"error": {"message": "No.", "detail": [{"msg": "Neither."}]}}
    protocols: tuple[Protocol, ...] = ("chat", "completions")
    for number in range(FEW):
        body = written(changed(changed(good, draw) or good, draw))
        content = body if number % 3 else damaged(body, draw)
        try:
            answer = answer_in(content, draw.choice(protocols), key="sk-secret", asked_characters=9)
        except (Again, NoAnswer, Refused):
            pass
        else:
            assert isinstance(answer, Answer)
            assert answer.text.strip()
            assert answer.tokens >= 0
        said = said_in(draw.choice((content, written(changed(failed, draw)))), key="sk-secret")
        assert said.isprintable()
        assert len(said) <= 400


@TWENTY_TIMES
def test_an_endpoint_that_asks_to_be_waited_for_names_a_time_or_none(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(FEW):
        date = b"Wed, 21 Oct 2099 07:28:00 GMT"
        said = draw.choice((damaged(date, draw), b"-5", b"nan", b"inf", b"1e400", b"Wed, 99 Oct 0000 99:99:99 -9999"))
        headers = httpx.Headers([(b"retry-after", said)])
        seconds = served_client.asked_to_wait(headers)
        assert seconds is None or seconds >= 0


@TWENTY_TIMES
async def test_a_file_of_a_project_is_whole_or_refused(seed: int, db: AsyncSession, tmp_path: Path) -> None:
    draw = random.Random(seed)
    file = tmp_path / "project.zip"
    await write_project(db, file)
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert packed_file.look(file).rows
    for number in range(FEW):
        file.write_bytes(damaged(whole, draw) if number % 3 == 0 else repacked(entries, draw))
        with refused_in_a_line():
            contents = packed_file.look(file)
            with zipfile.ZipFile(file) as archive:
                await packed_file.verify(archive, contents, nobody)
                for entry in contents.sha256:
                    if entry.endswith(".jsonl"):
                        list(packed_file.lines(archive, entry))


async def write_project(db: AsyncSession, file: Path) -> None:
    project = await make_project(db, "eggs")
    await make_member(db, project, "owner")
    await make_task(db, project)
    await make_prompt(db, project)
    await db.commit()  # it is read in a snapshot of its own
    await packing.pack(db, project.id, file.parent, file)


def repacked(entries: dict[str, bytes], draw: Draw) -> bytes:
    """With one entry changed, lost, named otherwise or come twice; its digest is as often right as wrong."""
    new = dict(entries)
    name = draw.choice(sorted(new))
    way = draw.randrange(4)
    if way == 0:
        del new[name]
    elif way == 1:
        new[draw.choice(("../evil", "/etc/passwd", "files/models/eggs/../../x", "a" * 300))] = new.pop(name)
    elif name.endswith(".json"):
        new[name] = written(changed(json.loads(new[name]), draw))
    else:
        new[name] = damaged(new[name], draw)
    if way == 3 and packing.MANIFEST in new:
        with_digests(new)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for entry, content in new.items():
            archive.writestr(entry, content)
    return packed.getvalue()


def with_digests(entries: dict[str, bytes]) -> None:
    """Make the manifest say of every entry what it is."""
    try:
        manifest = json.loads(entries[packing.MANIFEST])
        manifest["sha256"] = {
            name: sha256(content).hexdigest() for name, content in entries.items() if name != packing.MANIFEST
        }
    except (ValueError, TypeError, RecursionError):
        return
    entries[packing.MANIFEST] = written(manifest)


async def nobody(_bytes: int) -> None:
    return


@TWENTY_TIMES
def test_a_backup_is_one_or_is_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    part = {"sha256": "a" * 64, "size_bytes": 1}
    told = {
        "format": 1, "version": "0", "revision": "0001", "made_at": "2026-11-30", "sequences": {"users": 1},
        "tables": {"users": {"columns": ["id"], "rows": 1, **part}}, "files": {"models/a": part},
        "settings": {"port": "1"}, "missing": [], "damaged": [],
    }  # fmt: skip
    for number in range(FEW):
        file, content = tmp_path / f"{number}.backup", written(changed(told, draw))
        inner = tmp_path / "manifest"
        inner.write_bytes(content)
        name = f"20261130T000000.000000Z-{sha256(content).hexdigest()[:16]}"
        place = place_at(str(file))
        with place.writing():
            place.put(path_of(name), Content(inner, len(content)))
        if number % 2:
            file.write_bytes(damaged(file.read_bytes(), draw))
        with refused_in_a_line(), place.reading():
            assert restoring.open_backup(place).manifest.size_bytes >= 0


@TWENTY_TIMES
async def test_headers_cookies_and_forms_of_any_kind_are_answered(seed: int, site: FastAPI, db: AsyncSession) -> None:
    """By somebody who is signed in as often as by nobody."""
    draw = random.Random(seed)
    project = await make_project(db, "eggs")
    owner = await make_member(db, project, "owner")
    session = await session_token(db, owner)
    token = await accounts.create_api_token(db, owner.user_id, name="test")
    await db.commit()
    transport = httpx.ASGITransport(site, raise_app_exceptions=False)
    broken = []
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        for number in range(FEW):
            request = any_request(draw, session, token)
            browser.cookies.clear()
            answer = await browser.send(request)
            if answer.status_code >= 500:
                broken.append(
                    (number, request.method, request.url, request.headers, request.content[:300], answer.status_code)
                )
    assert broken == []


PLACES = (
    "/", "/projects/eggs", "/projects/eggs/imports", "/projects/eggs/models", "/project-files", "/sign-in", "/account",
    "/projects/eggs/quality", "/projects/eggs/settings", "/projects/new", "/tokens", "/api/v1/projects",
    "/api/v1/projects/eggs/imports", "/api/v1/project-files", "/sign-in/oidc/callback",
    "/projects/eggs/browse/tasks",
)  # fmt: skip
PART = (
    b'------b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\na,b\r\n'
)
MULTIPART = PART + b'------b\r\nContent-Disposition: form-data; name="name"\r\n\r\nEggs\r\n------b--\r\n'
KINDS = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=----b", "application/json", "text/csv")


def any_request(draw: Draw, session: str, token: str) -> httpx.Request:
    def odd(usual: str) -> bytes:
        found = damaged(usual.encode(), draw) if draw.random() < 0.5 else usual.encode()
        return b" ".join(found[:8_000].replace(b"\0", b"").split())

    cookies = {
        "session": session,
        "locale": "de",
        "utc_offset": "60",
        "known": "x.y.z",
        "theme": "dark",
        "oidc": "a.b.c.d",
    }
    name = draw.choice(list(cookies))
    cookies_sent = b"; ".join(
        key.encode() + b"=" + (odd(value) if key == name else value.encode()) for key, value in cookies.items()
    )
    kind = draw.choice(KINDS)
    headers = [
        (b"Host", b"test"),
        (b"Sec-Fetch-Site", b"same-origin"),
        (b"Cookie", cookies_sent if draw.random() < 0.8 else odd(cookies_sent.decode("latin-1"))),
        (b"Content-Type", odd(kind)),
        (b"Accept-Language", odd("de, en;q=0.5")),
    ]
    for header, usual in (
        ("Authorization", f"Bearer {token}"), ("Idempotency-Key", "key"), ("Last-Event-ID", "7"),
        ("HX-Request", "true"), ("HX-Current-URL", "http://test/x"), ("If-None-Match", '"x"'), ("Range", "bytes=0-4"),
        ("X-Forwarded-For", "1.2.3.4"),
    ):  # fmt: skip
        if draw.random() < 0.25:
            headers.append((header.encode(), odd(usual)))
    body = {
        "multipart/form-data; boundary=----b": MULTIPART,
        "application/json": written({"name": draw.choice(ODD), "location": draw.choice(ODD), "only": [1, {"a": 2}]}),
        "text/csv": b"prompt,chosen\na,b\n",
    }.get(kind, b"name=Eggs&email=a%40b&password=x&slug=eggs&page=2&people=Bo")
    place = draw.choice(PLACES) + draw.choice(
        ("", "?page=-1", "?text=%00", "?cursor=%ff%fe", "?file_name=..%2f%00&sort=\xe9")
    )
    method = draw.choice(("GET", "POST", "POST", "POST"))
    content = b"" if method == "GET" else damaged(body, draw)
    return httpx.Request(method, f"http://test{place}", headers=headers, content=content)
