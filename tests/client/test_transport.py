"""Calls that don't go well: what is tried again, how long it waits, and what a program is told in the end."""

import io
import json
import tarfile
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from plumbline_client import (
    ApiError,
    AsyncClient,
    Client,
    PlumblineError,
    Retries,
    RunFailed,
    ServerFailed,
    TooMany,
    Unreachable,
    VersionMismatch,
)
from plumbline_client.calls import Call
from plumbline_client.models import DirectoryGroup, GroupIn, JudgementIn, RoundIn

JUDGEMENT = JudgementIn(choice=1)
AT_ONCE = Retries(first_seconds=0.0)
PAGE = {"items": [], "next_cursor": None}


def site(*outcomes: httpx.Response | Exception, seen: list[httpx.Request]) -> httpx.MockTransport:
    """Answers with one after the other, and with the last for ever."""
    waiting = list(outcomes)

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        outcome = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return httpx.MockTransport(answer)


@pytest.fixture
def seen() -> list[httpx.Request]:
    return []


def client(*outcomes: httpx.Response | Exception, seen: list[httpx.Request], retries: Retries = AT_ONCE) -> Client:
    return Client("http://site", "plumb_x", retries=retries, transport=site(*outcomes, seen=seen))


def judged() -> httpx.Response:
    said = {"id": 1, "assignment_id": 1, "choice": 1, "answer_type": "seven", "ranks": None, "verdict": None}
    return httpx.Response(201, json=said | {"submitted_at": "2026-01-01T00:00:00Z"})


def test_a_busy_site_is_asked_again_with_the_same_key(seen: list[httpx.Request]) -> None:
    with client(httpx.Response(503), httpx.Response(429), judged(), seen=seen) as program:
        program.request("POST", "/api/v1/assignments/1/judgements", body={"choice": 1})
        program.request("POST", "/api/v1/assignments/1/judgements", body={"choice": 1})

    keys = [request.headers["Idempotency-Key"] for request in seen]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_row_ends_where_its_line_does_and_not_within_a_text(seen: list[httpx.Request]) -> None:
    rows = [{"text": "one\u2028two\x85three"}, {"text": "four"}]
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    with client(httpx.Response(200, content=content), seen=seen) as program:
        assert [*program.api.export("tea", 1).rows()] == rows


def test_what_a_worker_has_to_write_is_asked_for_and_fetched_as_what_it_is(
    seen: list[httpx.Request], tmp_path: Path
) -> None:
    run = {"id": 7, "stage": "export", "state": "succeeded", "step": 1, "total_steps": 1, "attempt": 1}
    run |= {"queued_at": "2026-01-01T00:00:00Z"}
    run |= dict.fromkeys(("round_id", "round_step", "phase", "result", "error", "started_at", "finished_at"))
    too_large = httpx.Response(409, json={"type": "/api/docs#error-TooLarge", "title": "Conflict"})
    answers = (
        too_large,
        *(httpx.Response(200, json=run) for _ in range(2)),
        httpx.Response(200, stream=httpx.ByteStream(b"x")),
    )
    with client(*answers, seen=seen) as program:
        program.datasets.save("tea", tmp_path / "rows", 2, kind="demonstrations", since=date(2026, 1, 1))

    assert json.loads(seen[1].content) == {"format": "parquet", "kind": "demonstrations", "since": "2026-01-01"}
    assert seen[3].url.path.endswith("/datasets/2/exports/7")
    assert seen[3].url.params["kind"] == "demonstrations"


def test_an_edit_names_what_was_read_or_that_it_holds_whatever_was_changed_since(seen: list[httpx.Request]) -> None:
    group = {"id": 1, "name": "Bakers", "people": 0, "projects": []}
    read = httpx.Response(200, json=group, headers={"ETag": '"7"'})
    with client(read, httpx.Response(204), seen=seen) as program:
        known = program.api.read_group(1)
        for what in (known, '"8"', "*"):
            program.api.rename_group(1, GroupIn(name="Bakers"), if_match=what)
        with pytest.raises(ValueError, match="read what is to be changed by itself"):
            program.api.rename_group(1, GroupIn(name="Bakers"), if_match=DirectoryGroup.model_validate(group))

    assert [request.headers["If-Match"] for request in seen[1:]] == ['"7"', '"8"', "*"]


def test_it_gives_up_at_last_and_says_what_the_site_said(seen: list[httpx.Request]) -> None:
    problem = {"type": "/api/docs#error-TooMany", "title": "Too Many Requests", "detail": "Ask later."}
    with (
        client(httpx.Response(429, json=problem), seen=seen, retries=Retries(2, 0.0)) as program,
        pytest.raises(TooMany, match=r"429 TooMany: Ask later\."),
    ):
        program.projects().first()

    assert len(seen) == 3


def test_a_pause_that_the_site_names_is_kept_and_one_that_is_too_long_is_not_waited_for() -> None:
    call, retries = Call("GET", "/"), Retries(longest_seconds=60)

    def pause(after: str) -> float | None:
        return retries.pause_after(call, 1, httpx.Response(429, headers={"Retry-After": after}))

    soon = pause(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert pause("7") == 7
    assert soon is not None
    assert 28 < soon <= 30
    assert pause("3600") is None
    assert pause("soon") is not None


def test_pauses_double_to_a_bound_and_differ_between_programs() -> None:
    retries, busy = Retries(most=9, first_seconds=1, longest_seconds=8), httpx.Response(503)

    for tried, longest in enumerate((1, 2, 4, 8, 8), start=1):
        drawn = {retries.pause_after(Call("GET", "/"), tried, busy) for _ in range(20)}
        assert all(pause is not None and longest / 2 <= pause <= longest for pause in drawn)
        assert len(drawn) > 1
    assert retries.pause_after(Call("GET", "/"), 10, busy) is None


def test_what_broke_off_is_done_again_only_where_that_does_no_harm(seen: list[httpx.Request]) -> None:
    broken = httpx.ReadError("gone")
    with client(broken, httpx.Response(200, json=PAGE), seen=seen) as program:
        assert program.projects().first() is None
    with client(broken, judged(), seen=seen) as program:
        program.api.submit_judgement(1, JUDGEMENT)  # the site knows its key
    assert len(seen) == 4
    with client(broken, seen=seen) as program, pytest.raises(Unreachable, match=r"POST .*/changes: gone"):
        program.request("POST", "/api/v1/projects/tea/changes", body={})
    assert len(seen) == 5
    with client(httpx.ConnectError("nobody there"), seen=seen) as program, pytest.raises(Unreachable):
        program.request("POST", "/api/v1/projects/tea/changes", body={})
    assert len(seen) == 5 + 1 + AT_ONCE.most


def test_an_answer_that_is_no_problem_document_is_told_all_the_same(seen: list[httpx.Request]) -> None:
    with (
        client(httpx.Response(502, text="<h1>Bad gateway</h1>"), seen=seen) as program,
        pytest.raises(ServerFailed, match="502 Bad Gateway: <h1>"),
    ):
        program.projects().first()
    with client(httpx.Response(418, json=["tea"]), seen=seen) as program, pytest.raises(ApiError) as odd:
        program.projects().first()
    assert odd.value.status == 418


def test_only_what_was_set_is_sent(seen: list[httpx.Request]) -> None:
    with client(httpx.Response(409, json={}), seen=seen) as program:
        for body in (RoundIn(), RoundIn(label_target=7)):
            with pytest.raises(ApiError):
                program.api.start_round("tea", body)

    assert [request.content for request in seen] == [b"{}", b'{"label_target":7}']


def test_a_field_that_a_newer_site_has_is_no_trouble(seen: list[httpx.Request]) -> None:
    run = {"id": 1, "stage": "brew", "state": "steeping", "leaves": 3, "phase": None, "step": 0, "total_steps": 0}
    rest = dict.fromkeys(("round_id", "round_step", "result", "error", "started_at", "finished_at"))
    answer = httpx.Response(200, json=run | rest | {"attempt": 1, "queued_at": "2026-01-01T00:00:00Z"})
    with client(answer, seen=seen) as program:
        found = program.api.read_run(1)

    assert (found.state, found.model_extra) == ("steeping", {"leaves": 3})


def test_a_run_is_waited_for_until_it_is_over(seen: list[httpx.Request]) -> None:
    def run(state: str, error: str | None = None) -> httpx.Response:
        rest = dict.fromkeys(("round_id", "round_step", "phase", "result", "started_at", "finished_at"))
        told = {"id": 1, "stage": "reward", "state": state, "error": error, "step": 0, "total_steps": 9, "attempt": 1}
        return httpx.Response(200, json=told | rest | {"queued_at": "2026-01-01T00:00:00Z"})

    states: list[str] = []
    with (
        client(run("queued"), run("running"), run("failed", "No room."), seen=seen) as program,
        pytest.raises(RunFailed, match=r"Run 1 \(reward\) failed: No room\."),
    ):
        program.runs.wait(1, poll_seconds=0, progress=lambda found: states.append(found.state))
    assert states == ["queued", "running", "failed"]
    with client(run("running"), seen=seen) as program, pytest.raises(TimeoutError, match="is running after 0 s"):
        program.runs.wait(1, timeout_seconds=0)


def test_another_release_of_the_site_is_warned_of_once(seen: list[httpx.Request]) -> None:
    answer = httpx.Response(200, json=PAGE, headers={"Plumbline-Version": "9.2.1"})
    with client(answer, seen=seen) as program:
        with pytest.warns(VersionMismatch, match=r"install plumbline-client 9\.2\.\*"):
            program.projects().first()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            program.projects().first()


class Breaking(httpx.SyncByteStream):
    """A body that ends too early."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.RemoteProtocolError("peer closed connection")


CONTENT = bytes(range(256)) * 40


def breaking_site(tag: str | None, seen: list[httpx.Request]) -> httpx.MockTransport:
    """Sends 4,000 bytes of the rest for each request; without a tag, always from the beginning."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        begin = 0
        if tag and request.headers.get("If-Range") == tag:
            begin = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = CONTENT[begin:]
        headers = {"Content-Length": str(len(rest))} | ({"ETag": tag} if tag else {})
        headers |= {"Content-Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"} if begin else {}
        body = Breaking(rest[:4000]) if len(rest) > 4000 else httpx.ByteStream(rest)
        return httpx.Response(206 if begin else 200, stream=body, headers=headers)

    return httpx.MockTransport(answer)


def test_a_download_goes_on_from_where_it_broke_off(tmp_path: Path, seen: list[httpx.Request]) -> None:
    told: list[tuple[int, int | None]] = []
    with Client("http://site", "x", retries=AT_ONCE, transport=breaking_site('"one"', seen)) as program:
        saved = program.datasets.export("tea", 1).save(
            tmp_path / "rows", progress=lambda done, total: told.append((done, total))
        )

    assert saved.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in seen] == [None, "bytes=4000-", "bytes=8000-"]
    assert told == [(4000, len(CONTENT)), (8000, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    assert [*tmp_path.iterdir()] == [saved]


def test_a_later_program_goes_on_too_and_begins_again_where_the_file_has_changed(
    tmp_path: Path, seen: list[httpx.Request]
) -> None:
    never = Retries(most=0)
    for tag in ('"one"', '"two"', '"two"'):
        with (
            Client("http://site", "x", retries=never, transport=breaking_site(tag, seen)) as program,
            pytest.raises(Unreachable, match="broke off"),
        ):
            program.datasets.export("tea", 1).save(tmp_path / "rows")
        assert not (tmp_path / "rows").exists()
    with Client("http://site", "x", retries=never, transport=breaking_site('"two"', seen)) as program:
        saved = program.datasets.export("tea", 1).save(tmp_path / "rows")

    assert saved.read_bytes() == CONTENT
    assert [request.headers.get("Range") for request in seen] == [None, "bytes=4000-", "bytes=4000-", "bytes=8000-"]


def test_without_a_tag_a_download_begins_again_and_gives_up_in_the_end(
    tmp_path: Path, seen: list[httpx.Request]
) -> None:
    with (
        Client("http://site", "x", retries=Retries(2, 0.0), transport=breaking_site(None, seen)) as program,
        pytest.raises(Unreachable),
    ):
        program.datasets.export("tea", 1).save(tmp_path / "rows")

    assert [request.headers.get("Range") for request in seen] == [None] * 3


async def test_asynchronous_calls_are_tried_again_alike(seen: list[httpx.Request], tmp_path: Path) -> None:
    busy = site(httpx.Response(503), httpx.ReadError("gone"), httpx.Response(200, json=PAGE), seen=seen)
    async with AsyncClient("http://site", "x", retries=AT_ONCE, transport=busy) as program:
        assert await program.projects().all() == []
    assert len(seen) == 3


def run(state: str) -> dict[str, object]:
    rest = dict.fromkeys(("round_id", "round_step", "phase", "result", "error", "started_at", "finished_at"))
    told = {"id": 7, "stage": "export", "state": state, "step": 0, "total_steps": 9, "attempt": 1}
    return told | rest | {"queued_at": "2026-01-01T00:00:00Z"}


def test_what_is_too_large_to_make_at_once_is_made_by_a_worker_and_fetched(
    tmp_path: Path, seen: list[httpx.Request]
) -> None:
    problem = {"type": "/api/docs#error-TooLarge", "title": "Conflict", "detail": "A worker has to write it."}
    answers = (
        httpx.Response(409, json=problem),
        httpx.Response(202, json=run("queued")),
        httpx.Response(200, json=run("succeeded")),
        httpx.Response(200, stream=httpx.ByteStream(CONTENT)),
    )
    with client(*answers, seen=seen) as program:
        saved = program.datasets.save("tea", tmp_path / "rows", 1, raw=True)

    assert saved.read_bytes() == CONTENT
    asked = "/api/v1/projects/tea/datasets/1/export"
    assert [(request.method, request.url.path) for request in seen] == [
        ("GET", asked),
        ("POST", f"{asked}s"),
        ("GET", "/api/v1/runs/7"),
        ("GET", f"{asked}s/7"),
    ]
    assert json.loads(seen[1].content) == {"format": "parquet", "raw": True}


def archive(*names: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return written.getvalue()


def test_a_model_comes_as_the_directory_that_it_is(tmp_path: Path, seen: list[httpx.Request]) -> None:
    sent = archive("policy-3/config.json", "policy-3/README.md")
    with client(httpx.Response(200, stream=httpx.ByteStream(sent)), seen=seen) as program:
        folder = program.models.download("tea", "policy", 3, tmp_path / "new" / "policy")
        with pytest.raises(FileExistsError):
            program.models.download("tea", "policy", 3, tmp_path / "new" / "policy")

    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json"]
    assert [*folder.parent.iterdir()] == [folder]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "in/../../outside"])
def test_no_archive_writes_outside_of_its_folder(tmp_path: Path, seen: list[httpx.Request], name: str) -> None:
    with (
        client(httpx.Response(200, stream=httpx.ByteStream(archive("config.json", name))), seen=seen) as program,
        pytest.raises(PlumblineError, match="no file of a model"),
    ):
        program.models.download("tea", "policy", 3, tmp_path / "policy")

    assert not (tmp_path / "policy").exists()


def test_what_is_asked_is_sent_as_an_address_has_it() -> None:
    asked = {"split": ["train", "validation"], "since": date(2026, 1, 2), "raw": True, "limit": None}

    sent = httpx.Request("GET", "http://site", params=Call("GET", "/", query=asked).parameters)

    assert sent.url.query == b"split=train&split=validation&since=2026-01-02&raw=true"
