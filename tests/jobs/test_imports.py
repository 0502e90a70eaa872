"""A file on its way in: looked at on a page, checked and stored by a worker, judged by people, and taken back."""

import asyncio
import csv
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Import, Judgement, Project, Prompt, Run, Task
from app.jobs import execution, reading
from app.jobs.held_lease import HeldLease
from app.security import Principal
from app.services import accounts
from app.services.data.storing import frames
from app.services.data.storing.merging import Merged, Merging
from app.services.loop.runs import leases, runs, starting
from app.settings import Settings
from tests.browser.people import session_token
from tests.factories import make_member, make_project
from tests.jobs.conftest import StartWorker, make_context
from tests.jobs.loop import Loop, result_of
from tests.services.data.examples import EXAMPLES
from tests.services.loop.test_selection import make_policy, write
from tests.sites import new_site

PAIR = {"prompt": "Tea or coffee?", "responses": ["Tea.", "Coffee."]}
PREFERENCE = {"prompt": "Milk?", "chosen": "Yes.", "rejected": "No."}


@dataclass(frozen=True)
class Site:
    """The pages and the API of one project, as its owner uses them."""

    loop: Loop
    project: Project
    owner: Principal
    browser: httpx.AsyncClient
    program: httpx.AsyncClient

    @property
    def pages(self) -> str:
        return f"/projects/{self.project.slug}/imports"

    @property
    def api(self) -> str:
        return f"/api/v1{self.pages}"

    async def upload(self, *rows: Any, name: str = "tea.jsonl", **form: str) -> str:
        """The page that an upload leads to."""
        files = {"file": (name, json_lines(*rows))}
        answer = await self.browser.post(self.pages, files=files, data=form)
        assert answer.status_code == 303, words(answer.text)
        return answer.headers["location"]

    async def read(self, page: str) -> str:
        answer = await self.browser.get(page)
        assert answer.status_code == 200
        return answer.text

    async def press(self, page: str, action: str, **form: Any) -> httpx.Response:
        """Send a form of the page, and let the worker do what it asks for."""
        answer = await self.browser.post(f"{page}/{action}", data=form)
        await self.loop.work_off()
        return answer

    async def bring(self, *rows: Any) -> str:
        """A file all the way in."""
        page = await self.upload(*rows)
        await self.loop.work_off()
        assert (await self.press(page, "load")).status_code == 303
        return page

    async def count(self, table: type, *conditions: Any) -> int:
        return await self.loop.do(lambda db: count(db, table, *conditions))

    async def latest(self) -> Import:
        async def find(db: AsyncSession) -> Import:
            return (await db.scalars(select(Import).order_by(Import.id.desc()).limit(1))).one()

        return await self.loop.do(find)

    async def run(self) -> Run:
        import_ = await self.latest()
        return await self.loop.do(lambda db: db.get_one(Run, import_.run_id))


@pytest.fixture
async def site(loop: Loop, home: Path, database_url: str) -> AsyncIterator[Site]:
    async with transaction(loop.sessions) as db:
        project = await make_project(db, "tea")
        owner = await make_member(db, project, "owner")
        token = await accounts.create_api_token(db, owner.user_id, name="test")
    async with loop.sessions() as db:
        session = await session_token(db, owner)
    app = new_site(Settings(home=home, database_url=database_url, upload_megabytes=1, trusted_hosts="test"))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", cookies={"session": session}) as browser,
        httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {token}"}
        ) as program,
    ):
        yield Site(loop, project, owner, browser, program)


def json_lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def pairs(number: int) -> list[dict[str, Any]]:
    return [{**PAIR, "prompt": f"Cup {each}?"} for each in range(number)]


def kept_in(home: Path) -> list[Path]:
    return list(home.glob("imports/*"))


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def count(db: AsyncSession, table: type, *conditions: Any) -> int:
    return await db.scalar(select(func.count()).select_from(table).where(*conditions)) or 0


async def test_a_file_is_seen_as_annotators_will_see_it_before_anything_is_stored(site: Site) -> None:
    page = await site.upload(PAIR, PAIR, {"prompt": 7, "responses": ["a", "b"]})
    html = await site.read(page)
    assert '<div class="turn turn-user">' in html
    assert re.findall(r'<h3 class="pane-letter">.*?</h3>\s*<div class="model-text rendered" dir="auto">(.*?)</div>',
                      html, re.DOTALL)[:2] == ["<p>Tea.</p>\n", "<p>Coffee.</p>\n"]  # fmt: skip
    assert "It waits for a worker." in words(html)
    await site.loop.work_off()
    html = await site.read(page)
    assert "tea.jsonl holds one new row." in words(html)
    assert "Rows of the file 3 New 1 In the project already 0 Twice in the file 1 Can’t be used 1" in words(html)
    assert [await site.count(table) for table in (Prompt, Task)] == [0, 0]


async def test_one_click_brings_the_rows_in_and_an_annotator_gets_them_next(site: Site, home: Path) -> None:
    page = await site.upload(*pairs(3), next="/projects/new/people")
    await site.loop.work_off()
    assert "Import 3 rows" in words(await site.read(page))
    await site.press(page, "load")
    html = await site.read(page)
    assert "3 new rows came in from tea.jsonl." in words(html)
    assert 'href="/projects/new/people"' in html
    assert await site.count(Task, Task.state == "open", Task.import_id.is_not(None)) == 3
    assert [list(folder.iterdir()) for folder in kept_in(home)] == [[]]
    await site.loop.judge(site.project, 3)


async def test_a_round_goes_by_the_pairs_of_a_file_where_no_policy_has_written_any(site: Site) -> None:
    await site.bring(*pairs(4))
    round_ = await site.loop.start_round(site.project, label_target=4)
    await site.loop.work_off()
    labelling = await site.loop.read_round(round_)
    assert (labelling.step, labelling.label_target) == ("label", 4)
    await site.loop.judge(site.project, 4)
    await site.loop.work_off()
    assert (await site.loop.read_round(round_)).dataset_version_id is not None


async def test_a_policy_writes_only_what_files_left_wanting(site: Site) -> None:
    async with transaction(site.loop.sessions) as db:
        policy = await make_policy(db, site.project)
        for _ in range(5):
            await write(db, site.project, policy, "Yes.", "No.")
    await site.bring(*pairs(4))
    run = await site.loop.do(lambda db: starting.start(db, None, site.project, "select", inputs={"count": 6}))
    await site.loop.work_off()
    result = result_of(await site.loop.read(run))
    assert (result["pairs_wanted"], result["pairs_brought"], result["pairs_made"]) == (6, 4, 2)


async def test_a_row_that_cannot_be_used_keeps_all_out_until_somebody_leaves_it_out(site: Site) -> None:
    page = await site.upload(PAIR, b"{", {"prompt": "x", "responses": ["only one"]})
    await site.loop.work_off()
    assert (await site.browser.get(f"{page}/bad-rows.csv")).text.splitlines() == [
        "line,field,reason",
        "2,,is not JSON",
        (await site.browser.get(f"{page}/bad-rows.csv")).text.splitlines()[2],
    ]
    refused = await site.press(page, "load")
    assert refused.status_code == 409
    assert "2 rows can't be used" in unescape(refused.text)
    assert await site.count(Task) == 0
    assert (await site.press(page, "load", skip_bad="true")).status_code == 303
    assert await site.count(Task) == 1


async def test_what_is_not_known_is_mapped_by_hand(site: Site) -> None:
    page = await site.upload({"q": "Tea?", "left": "Yes.", "right": "No."})
    assert "wasn’t recognised" in words(await site.read(page))
    lacking = await site.press(page, "reading", format="prompts")
    assert lacking.status_code == 422
    assert "needs a column" in words(lacking.text)
    import_ = await site.latest()
    assert import_.format is None
    chosen = {"format": "prompts", "columns": {"prompt": "q"}}
    queued = await site.program.post(f"{site.api}/{import_.id}/check", json=chosen)
    assert queued.status_code == 200, queued.text
    await site.loop.work_off()
    html = await site.read(page)
    assert "Not read: left, right." in words(html)
    await site.press(page, "load")
    assert [await site.count(table) for table in (Prompt, Task)] == [1, 0]


async def test_what_is_pasted_comes_in_like_a_file(site: Site) -> None:
    answer = await site.browser.post(site.pages, data={"text": "prompt\nHow are you?\nAnd you?\n"})
    assert answer.status_code == 303, words(answer.text)
    await site.loop.work_off()
    await site.press(answer.headers["location"], "load")
    assert await site.count(Prompt) == 2


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({}, 422, "Choose a file, or paste some rows."),
        ({"files": {"file": ("tea.xlsx", b"PK\x03\x04" + b"x" * 100)}}, 422, "tea.xlsx"),
        ({"files": {"file": ("tea.jsonl", b"x" * 1_000_001)}}, 413, "larger than the 1 MB that may be uploaded"),
        ({"files": {"file": ("tea.jsonl", b"x" * 3_000_000)}}, 413, "Content Too Large"),
    ],
)
async def test_what_cannot_be_taken_is_said_and_leaves_nothing(
    site: Site, home: Path, sent: dict[str, Any], status: int, said: str
) -> None:
    refused = await site.browser.post(site.pages, **sent)
    assert refused.status_code == status
    assert said in words(refused.text)
    assert await site.count(Import) == 0
    assert kept_in(home) == []


async def test_a_column_that_a_spreadsheet_would_run_is_text_in_the_table_of_bad_rows(site: Site) -> None:
    formula = "=cmd|'/C calc'!A0"
    page = await site.upload({formula: "Tea?"}, {formula: 7})
    (one,) = (await site.program.get(site.api)).json()["items"]
    chosen = {"format": "prompts", "columns": {"prompt": formula}}
    assert (await site.program.post(f"{site.api}/{one['id']}/check", json=chosen)).status_code == 200
    await site.loop.work_off()
    assert "tea.jsonl holds one new row." in words(await site.read(page))
    for table in (f"{page}/bad-rows.csv", f"{site.api}/{one['id']}/bad-rows"):
        door = site.browser if table.startswith("/projects") else site.program
        _, bad = csv.reader((await door.get(table)).text.splitlines())
        assert (bad[0], bad[1]) == ("2", f"'{formula}")
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in bad)


async def test_a_page_says_why_rows_cannot_be_used_and_how_often(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    page = await site.upload(PAIR, b"{", b"[1]", b"{", b"{")
    await site.loop.work_off()
    said = words(await site.read(page))
    assert "Row 2 is not JSON. 2 more like it." in said
    assert "Row 3 is not a JSON object." in said
    assert said.index("is not JSON.") < said.index("is not a JSON object.")
    assert "All 4 rows that can’t be used" in said
    monkeypatch.setattr("app.web.pages.imports.MOST_BAD_TOLD", 3)
    assert "The first 3 rows that can’t be used" in words(await site.read(page))


async def test_programs_bring_files_in_and_take_them_back(site: Site) -> None:
    made = (await site.program.post(f"{site.api}?name=milk.jsonl", content=json_lines(PREFERENCE, b"{"))).json()
    assert (made["state"], made["format"], made["columns"]["chosen"]) == ("uploaded", "preference", "chosen")
    one = f"{site.api}/{made['id']}"
    assert (await site.program.post(f"{one}/check", json={"choice": 1})).json()["run_id"] is not None
    assert (await site.program.post(f"{one}/check", json={})).status_code == 409
    await site.loop.work_off()
    assert (await site.program.get(one)).json()["counts"]["bad"] == 1
    assert (await site.program.get(f"{one}/bad-rows")).text.splitlines()[1] == "2,,is not JSON"
    assert (await site.program.post(f"{one}/load", json={"skip_bad": True})).status_code == 200
    await site.loop.work_off()
    assert (await site.program.get(one)).json()["state"] == "imported"
    assert [abs(said.preference or 0) for said in await site.loop.do(judgements)] == [3]
    assert (await site.program.delete(one)).status_code == 409
    assert (await site.program.post(f"{one}/undo")).status_code == 200
    await site.loop.work_off()
    (listed,) = (await site.program.get(site.api)).json()["items"]
    assert (listed["state"], await site.count(Judgement), await site.count(Prompt)) == ("undone", 0, 0)


@pytest.mark.parametrize(
    "body", [{"format": "\ud83d"}, {"columns": {"\ud83d": "q"}}, {"columns": {"prompt": "\ud83d"}}, {"choice": 9}]
)
async def test_what_no_reading_can_be_is_refused(site: Site, body: dict[str, Any]) -> None:
    made = (await site.program.post(f"{site.api}?name=a%00b", content=json_lines(PAIR))).status_code
    assert made == 422
    made = (await site.program.post(site.api, content=json_lines(PAIR))).json()
    refused = await site.program.post(
        f"{site.api}/{made['id']}/check", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422


async def test_columns_whose_names_are_no_text_are_not_offered(site: Site) -> None:
    page = await site.upload({"spare\ud83d": 1, "gap\0": 2, **PREFERENCE})
    assert "Milk?" in await site.read(page)


async def test_an_import_that_people_have_judged_stays_and_says_so(site: Site) -> None:
    page = await site.bring(*pairs(2))
    await site.loop.judge(site.project, 1)
    refused = await site.press(page, "undo")
    assert refused.status_code == 409
    assert "People have worked on 1 of its tasks." in words(refused.text)
    assert await site.count(Task) == 2


async def test_a_file_that_has_grown_adds_to_tasks_of_the_first_and_neither_goes_by_itself(site: Site) -> None:
    first = next(shown.rows[0] for shown in EXAMPLES if shown.form == "plumbline")
    more = {**first, "annotator": "annotator-3", "preference": -1, "ranks": [2, 1]}
    pages = [await site.bring(first), await site.bring(first, more)]
    assert (await site.count(Task), await site.count(Judgement)) == (1, 2)
    for page in pages:
        refused = await site.press(page, "undo")
        assert refused.status_code == 409
        assert "those of another import belong to the same tasks" in words(refused.text)
    assert await site.count(Judgement) == 2


async def test_a_version_that_holds_an_import_is_named_and_keeps_it(site: Site) -> None:
    page = await site.bring(PREFERENCE)
    await site.browser.post(f"/projects/{site.project.slug}/datasets")
    await site.loop.work_off()
    assert "Dataset version 1 holds some of it." in words(await site.read(page))
    refused = await site.press(page, "undo")
    assert (refused.status_code, await site.count(Judgement)) == (409, 1)


async def test_prompts_that_something_else_uses_stay_when_their_import_goes(site: Site) -> None:
    first = await site.bring({"prompt": "Milk?"}, {"prompt": "Sugar?"})
    await site.bring(PREFERENCE)
    await site.press(first, "undo")
    kept = await site.loop.do(lambda db: db.scalars(select(Prompt)))
    assert [prompt.messages[0]["content"] for prompt in kept] == ["Milk?"]


async def test_a_file_that_brought_nothing_is_discarded_with_all_that_was_kept_of_it(site: Site, home: Path) -> None:
    page = await site.upload(PAIR)
    assert (await site.press(page, "discard")).status_code == 409  # it is being checked
    assert (await site.press(page, "discard")).status_code == 303
    assert (await site.count(Import), kept_in(home)) == (0, [])


async def test_a_cancelled_import_leaves_nothing_and_can_be_begun_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await site.upload(*pairs(6))
    await site.loop.work_off()

    async def cancel() -> None:
        run = await site.run()
        await site.loop.do(lambda db: runs.request_cancel(db, site.owner, run))

    with Interrupted(monkeypatch, cancel):
        await site.press(page, "load")
        ended = await site.run()
    assert (ended.state, await site.count(Task)) == ("cancelled", 0)
    assert (await site.latest()).state == "checked"
    await site.press(page, "load")
    assert await site.count(Task) == 6


async def test_a_worker_that_lost_its_run_stores_nothing_and_the_next_one_stores_all(
    site: Site, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    page = await site.upload(*pairs(6))
    await site.loop.work_off()
    await site.browser.post(f"{page}/load")
    run = await site.run()

    async def take_over() -> None:
        await site.loop.let_lease_expire(run)
        await site.loop.do(lambda db: leases.take_away(db, run.id))

    with Interrupted(monkeypatch, take_over):
        await execution.execute(site.loop.context, run.id)
    assert (await site.loop.read(run)).state == "queued"
    assert await site.count(Task) == 0
    await execution.execute(make_context(site.loop.sessions, home, owner="there"), run.id)
    assert ((await site.loop.read(run)).state, await site.count(Task)) == ("succeeded", 6)


async def test_a_worker_that_is_killed_at_it_is_followed_by_one_that_begins_anew(
    site: Site, start_worker: StartWorker
) -> None:
    page = await site.upload(*pairs(6_000))
    await site.loop.work_off()
    await site.browser.post(f"{page}/load")
    run = await site.run()
    worker = start_worker()
    await site.loop.until(run, lambda found: found.state == "running")
    worker.kill()
    worker.wait()
    assert await site.count(Task) == 0
    start_worker()
    done = await site.loop.until_over(run)
    assert (done.state, await site.count(Task), done.attempt) == ("succeeded", 6_000, 2)


async def test_a_run_that_is_retried_after_its_file_came_in_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await site.upload(*pairs(6))
    await site.loop.work_off()

    async def cancel() -> None:
        run = await site.run()
        await site.loop.do(lambda db: runs.request_cancel(db, site.owner, run))

    with Interrupted(monkeypatch, cancel):
        await site.press(page, "load")
    cancelled = await site.run()
    await site.press(page, "load")
    answer = await site.browser.post(f"/projects/{site.project.slug}/runs/{cancelled.id}/retry")
    assert answer.status_code == 303
    await site.loop.work_off()
    late = await site.loop.read(cancelled)
    assert (late.state, late.error) == ("failed", "This file was imported already.")
    assert ((await site.latest()).counts["new"], await site.count(Task)) == (6, 6)


class Interrupted:
    """Within the block, frames hold two rows, and after the first one something happens that the keeper of the lease
    notices before the second."""

    def __init__(self, patch: pytest.MonkeyPatch, happening: Callable[[], Any]) -> None:
        self._patch = patch
        self._happening = happening

    def __enter__(self) -> None:
        merge, happening = Merging.merge, self._happening
        happened: list[bool] = []
        leases_kept: list[HeldLease] = []

        class Seen(HeldLease):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                leases_kept.append(self)

        async def merge_and_wait(merging: Merging, frame: frames.Frame) -> Merged:
            merged = await merge(merging, frame)
            if not happened:
                happened.append(True)
                await happening()
                (lease,) = leases_kept
                noticed = [asyncio.ensure_future(event.wait()) for event in (lease.lost, lease.cancel_requested)]
                await asyncio.wait(noticed, return_when=asyncio.FIRST_COMPLETED)
                for event in noticed:
                    event.cancel()
            return merged

        self._patch.setattr(execution, "HeldLease", Seen)
        self._patch.setattr(frames, "ROWS_A_FRAME", 2)
        self._patch.setattr(Merging, "merge", merge_and_wait)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


async def judgements(db: AsyncSession) -> list[Judgement]:
    return list(await db.scalars(select(Judgement)))


async def test_a_list_says_that_a_large_file_is_still_being_read_for_search_until_a_worker_has(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "ROWS_A_FRAME", 2)
    await site.bring(*({**PREFERENCE, "prompt": f"Sage number {number}?"} for number in range(5)))
    search = f"/projects/{site.project.slug}/browse/prompts?search=sage"
    page = await site.read(search)
    assert "still being read for search" in page
    assert "Sage number 4?" not in page
    worker = asyncio.create_task(reading.keep_reading(site.loop.context))
    while "still being read for search" in page:
        await asyncio.sleep(0.01)
        page = await site.read(search)
    assert "Sage number 4?" in page
    site.loop.context.stopping.set()
    await worker
