"""The client beside a real site: what a program does with it, in both ways to write one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from plumbline_client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotSignedIn,
    PlumblineError,
    Retries,
    RunFailed,
)
from plumbline_client.models import ExportIn, ImportIn, InvitationsIn

from tests.client.conftest import PROJECT
from tests.client.served import ServedSite

PAIRS = [
    {"prompt": f"How long does tea number {n} draw?", "responses": ["Three minutes.", f"{n} hours."]} for n in range(9)
]


def test_every_task_is_judged_in_a_loop_of_two_lines(owner: Client, annotator: Client) -> None:
    for task in annotator.project(PROJECT).tasks():
        task.judge(2 if "good" in task.panes[0].text else 6, rationale="Warmer.")

    details = owner.project(PROJECT).details()
    assert details.counts is not None
    assert (details.counts.judgements, details.counts.tasks_open) == (3, 0)


def test_a_task_that_was_neither_judged_nor_skipped_does_not_go_round_for_ever(annotator: Client) -> None:
    with pytest.raises(PlumblineError, match="Judge or skip each task"):
        for _ in annotator.project(PROJECT).tasks():
            pass


def test_what_was_skipped_does_not_come_again(annotator: Client) -> None:
    assert [task.skip("Not mine.") for task in annotator.project(PROJECT).tasks()] == [None] * 3
    assert list(annotator.project(PROJECT).tasks()) == []


def test_lists_go_on_over_pages_of_any_size(owner: Client) -> None:
    owner.imports.bring(PROJECT, PAIRS)

    found = [prompt.id for prompt in owner.api.list_prompts(PROJECT, limit=2)]

    assert len(found) == len(set(found)) == 3 + len(PAIRS)
    assert found == [prompt.id for prompt in owner.api.list_prompts(PROJECT)]
    first = owner.api.list_prompts(PROJECT, limit=5).page()
    rest = owner.api.list_prompts(PROJECT, cursor=first.next_cursor).all()
    assert [prompt.id for prompt in (*first.items, *rest)] == found


def test_rows_come_in_once(owner: Client) -> None:
    said: list[tuple[int, int | None]] = []

    first = owner.imports.bring(PROJECT, PAIRS, progress=lambda done, total: said.append((done, total)))
    again = owner.imports.bring(PROJECT, PAIRS)

    assert (first.state, first.format, first.counts["tasks"]) == ("imported", "responses", len(PAIRS))
    assert again.counts.get("tasks", 0) == 0
    assert said[-1][0] == said[-1][1] == first.size_bytes


def test_of_what_is_refused_nothing_stays_and_why_is_told(owner: Client) -> None:
    same = {"prompt": "Green or black?", "chosen": "Green.", "rejected": "Green."}
    with pytest.raises(RunFailed) as failed:
        owner.imports.bring(PROJECT, [same])
    with pytest.raises(Invalid, match="no format"):
        owner.imports.bring(PROJECT, [same], read_as=ImportIn(format="tea-leaves"))

    assert failed.value.bad_rows == "line,field,reason\r\n1,,holds the same response twice\r\n"
    assert owner.imports.list(PROJECT).all() == []


def test_a_file_is_read_as_it_is_told_to_be(owner: Client, tmp_path: Path) -> None:
    file = tmp_path / "asked.csv"
    file.write_text("question\nGreen or black?\n")

    brought = owner.imports.bring(PROJECT, file, read_as=ImportIn(format="prompts"))
    undone = owner.imports.undo(PROJECT, brought.id)

    assert (brought.file_name, brought.counts["prompts"], undone.state) == ("asked.csv", 1, "undone")


def test_a_version_is_cut_and_loads_into_datasets_and_pandas(owner: Client, annotator: Client, tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="no dataset version yet"):
        owner.datasets.load(PROJECT)
    for task in annotator.project(PROJECT).tasks():
        task.judge(1)

    version = owner.datasets.cut(PROJECT, timeout_seconds=60)
    rows = owner.datasets.load(PROJECT)
    frame = owner.datasets.load(PROJECT, version.number, into="pandas", raw=True)
    kept = owner.datasets.load(PROJECT, cache=tmp_path / "kept")

    assert version.row_count == len(rows) == len(frame) == len(kept) == 3
    assert {"prompt", "chosen", "rejected"} <= set(rows.column_names)
    assert {"strength", "annotator"} <= set(frame.columns)
    assert [row["chosen"] for row in kept] == [row["chosen"] for row in rows]
    assert [*(tmp_path / "kept").glob("*.parquet")]


def test_rows_are_read_one_by_one_or_saved(owner: Client, annotator: Client, tmp_path: Path) -> None:
    next(iter(annotator.project(PROJECT).tasks())).judge(7)
    owner.datasets.cut(PROJECT)

    (row,) = owner.datasets.export(PROJECT, format="jsonl").rows()
    saved = owner.datasets.export(PROJECT, format="jsonl").save(tmp_path / "rows.jsonl")

    assert row["chosen"][0]["content"]
    assert saved.read_bytes() == owner.datasets.export(PROJECT, format="jsonl").content()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["rows.jsonl"]


def test_refusals_are_exceptions_with_the_fields_of_the_problem(
    site: ServedSite, owner: Client, annotator: Client
) -> None:
    with pytest.raises(NotFound) as nothing:
        owner.project("coffee").details()
    with pytest.raises(Forbidden) as refused:
        annotator.datasets.list(PROJECT).all()
    with pytest.raises(Invalid) as invalid:
        owner.request("POST", f"/api/v1/projects/{PROJECT}/rounds", body={"label_target": "many"})
    with Client(site.url, "plumb_wrong") as stranger, pytest.raises(NotSignedIn):
        stranger.projects().first()
    task = next(iter(annotator.project(PROJECT).tasks()))
    task.judge(1)
    with pytest.raises(Conflict) as late:
        task.skip()

    assert (nothing.value.status, nothing.value.kind) == (404, "NotFound")
    assert refused.value.detail
    assert refused.value.request_id
    assert [error["field"] for error in invalid.value.errors] == ["label_target"]
    assert "label_target" in str(invalid.value)
    assert late.value.status == 409


def test_the_same_key_makes_the_same_links(owner: Client) -> None:
    """A key of one's own holds across programs; without, each call has another one."""
    people = InvitationsIn.model_validate({"people": [{"name": "Ada"}]})
    links = [owner.api.invite(PROJECT, people, idempotency_key="a-secret-of-mine")[0].link for _ in range(2)]

    assert links[0] == links[1]
    assert owner.api.invite(PROJECT, people)[0].link != links[0]


async def test_a_program_that_waits_for_many_things_uses_the_same_words(site: ServedSite, tmp_path: Path) -> None:
    async with AsyncClient(site.url, site.tokens["annotator"]) as annotator:
        async for task in annotator.project(PROJECT).tasks(most=2):
            await task.judge(1)
    async with AsyncClient(site.url, site.tokens["owner"]) as owner:
        version = await owner.datasets.cut(PROJECT)
        assert [one.number async for one in owner.datasets.list(PROJECT)] == [version.number]
        assert (await owner.datasets.load(PROJECT)).num_rows == 2
        download = await owner.datasets.export(PROJECT, format="jsonl")
        assert len([row async for row in download.rows()]) == 2
        assert (await download.save(tmp_path / "rows.jsonl")).stat().st_size


class CutOff(httpx.BaseTransport):
    """A line on which each answer breaks off after so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.ranges: list[str | None] = []
        self.line = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.line.handle_request(request)
        if "/exports/" not in request.url.path:
            return response
        self.ranges.append(request.headers.get("Range"))
        return httpx.Response(response.status_code, headers=response.headers, stream=Begun(response, self.most_bytes))

    def close(self) -> None:
        self.line.close()


class Begun(httpx.SyncByteStream):
    def __init__(self, response: httpx.Response, most_bytes: int) -> None:
        self.response = response
        self.most_bytes = most_bytes

    def __iter__(self) -> Iterator[bytes]:
        left = self.most_bytes
        for piece in self.response.iter_raw():
            yield piece[:left]
            left -= len(piece)
            if left < 0:
                raise httpx.ReadError("the line is gone")

    def close(self) -> None:
        self.response.close()


def test_a_file_of_the_site_goes_on_over_a_line_that_breaks(site: ServedSite, owner: Client, tmp_path: Path) -> None:
    run = owner.runs.wait(owner.api.export_project(PROJECT, ExportIn()))
    whole = owner.api.download_project(PROJECT, run.id).content()
    line = CutOff(len(whole) // 3 + 1)
    with Client(site.url, site.tokens["owner"], retries=Retries(first_seconds=0.0), transport=line) as program:
        saved = program.api.download_project(PROJECT, run.id).save(tmp_path / "tea.zip")

    assert saved.read_bytes() == whole
    assert line.ranges == [None, f"bytes={line.most_bytes}-", f"bytes={2 * line.most_bytes}-"]
