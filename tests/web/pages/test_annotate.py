"""The annotator's page over plain HTTP: forms and redirects, as a browser without JavaScript sends them."""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Completion, DatasetJudgement, DatasetVersion, Judgement, Project, Task
from app.services.judging import assignments
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange
from tests.factories import make_member, make_task
from tests.web.conftest import HOST, SignIn
from tests.web.forms import judgement_form

HTMX = {"HX-Request": "true"}


async def test_from_the_first_pair_to_the_last_by_plain_forms(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT])
    client = await sign_in(annotator)
    page = await client.get("/", follow_redirects=True)
    for choice in (1, 4, 7):
        action, fields = judgement_form(page.text)
        answer = await client.post(action, data={**fields, "choice": str(choice)})
        assert answer.status_code == 303
        page = await client.get(answer.headers["location"])
        assert "Saved:" in page.text
    assert "Nothing to compare right now" in page.text
    assert await _choices(db, project) == [1, 4, 7]


async def test_a_form_sent_twice_counts_once(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    for _ in range(2):
        assert (await client.post(action, data={**fields, "choice": "3"})).status_code == 303
    assert await _choices(db, project) == [3]


async def test_the_same_key_with_another_choice_is_refused(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    await client.post(action, data={**fields, "choice": "3"})
    assert (await client.post(action, data={**fields, "choice": "5"})).status_code == 422
    assert await _choices(db, project) == [3]


async def test_undo_shows_what_was_said_and_a_change_replaces_it(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    answer = await client.post(action, data={**fields, "choice": "2"})
    page = await client.get(answer.headers["location"])
    earlier = await client.get(_undo(page.text))
    again, fields = judgement_form(earlier.text)
    assert again == action
    assert _checked(earlier.text) == 2
    await client.post(again, data={**fields, "choice": "6"})
    assert await _choices(db, project) == [6]
    rows = await db.scalars(select(Judgement.choice).where(Judgement.project_id == project.id).order_by(Judgement.id))
    assert list(rows) == [2, 6]


async def test_a_window_left_behind_keeps_both_answers_until_its_author_decides(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], rationale="optional")
    client = await sign_in(annotator)
    windows = [judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text) for _ in range(2)]
    action, fields = windows[0]
    assert (await client.post(action, data={**fields, "choice": "1"})).status_code == 303
    told = await client.post(action, data={**windows[1][1], "choice": "7", "rationale": "It says why."})
    assert told.status_code == 409
    assert "You have answered this already, in another window: A is much better." in told.text
    assert _checked(told.text) == 7
    assert "It says why." in told.text
    assert await _choices(db, project) == [1]
    again, fields = judgement_form(told.text)
    assert (await client.post(again, data={**fields, "choice": "7"})).status_code == 303
    assert await _choices(db, project) == [7]


async def test_undo_leads_back_pair_by_pair(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT])
    client = await sign_in(annotator)
    page = await client.get(f"/projects/{project.slug}/annotate")
    for choice in (1, 2):
        action, fields = judgement_form(page.text)
        page = await client.post(action, data={**fields, "choice": str(choice)}, headers=HTMX)
    last = await client.get(_undo(page.text))
    first = await client.get(_undo(last.text))
    assert (_checked(last.text), _checked(first.text)) == (2, 1)
    assert 'id="undo"' not in first.text


async def test_a_judgement_in_a_dataset_version_is_shown_and_not_changed(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    answer = await client.post(action, data={**fields, "choice": "2"})
    await _cut_a_dataset(db, project)
    page = await client.get(answer.headers["location"])
    earlier = await client.get(_undo(page.text))
    assert "you can read it, not change it" in earlier.text
    assert '<fieldset class="scale scale-seven" tabindex="-1" disabled>' in earlier.text
    refused = await client.post(action, data={"idempotency_key": "another", "choice": "6"})
    assert refused.status_code == 409
    assert await _choices(db, project) == [2]


async def test_skip_takes_a_reason_and_goes_on(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    page = await client.get(f"/projects/{project.slug}/annotate")
    (action,) = re.findall(r'action="([^"]+/skip)"', page.text)
    answer = await client.post(action, data={"reason": "knowledge"})
    page = await client.get(answer.headers["location"])
    assert "Skipped" in page.text
    assert "capital of Australia" in page.text
    skipped = (await db.scalars(select(Assignment).where(Assignment.state == "skipped"))).one()
    assert skipped.skip_reason == "knowledge"


async def test_four_pairs_of_which_one_is_skipped_are_three_and_the_end_says_why(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT, PROSE])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    assert _bar((await client.get(home)).text) == (0, 4)
    assert (await client.get(f"{home}/ahead")).status_code == 200
    page = await client.get(home)
    assert _bar(page.text) == (0, 4), "what is fetched ahead is still to be done"
    (action,) = re.findall(r'action="([^"]+/skip)"', page.text)
    page = await client.get((await client.post(action, data={"reason": "knowledge"})).headers["location"])
    assert _bar(page.text) == (0, 3)
    for choice in ("1", "4", "7"):
        action, fields = judgement_form(page.text)
        answer = await client.post(action, data={**fields, "choice": choice})
        page = await client.get(answer.headers["location"])
    assert _bar(page.text) == (3, 3)
    assert "You skipped one open pair: it waits for somebody else." in page.text
    assert "Every pair is done" not in page.text


@pytest.mark.parametrize("policy", ["count", "retire"])
async def test_pairs_that_end_by_being_skipped_are_never_called_judged(
    policy: str, db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE], skip_policy=policy, retire_after=1)
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    (action,) = re.findall(r'action="([^"]+/skip)"', (await client.get(home)).text)
    page = await client.get((await client.post(action, data={"reason": "knowledge"})).headers["location"])
    assert "Every pair is done." in page.text
    assert "is judged" not in page.text


async def test_the_end_says_what_the_others_have_still_to_do(db: AsyncSession, sign_in: SignIn) -> None:
    project, ada = await arrange(db, [PROSE, SHORT], overlap=2)
    bob = await make_member(db, project)
    await db.commit()
    home = f"/projects/{project.slug}/annotate"
    for person, told in (
        (ada, "You have judged 2 open pairs, which wait for somebody else's judgement, too."),
        (bob, "Every pair is done."),
    ):
        client = await sign_in(person)
        page = await client.get(home)
        for _ in range(2):
            action, fields = judgement_form(page.text)
            page = await client.post(action, data={**fields, "choice": "1"}, headers=HTMX)
        assert told in page.text
    empty, cem = await arrange(db, [])
    page = await (await sign_in(cem)).get(f"/projects/{empty.slug}/annotate")
    assert "There are no pairs in this project yet." in page.text
    both, dan = await arrange(db, [PROSE, SHORT], overlap=2)
    client, home = await sign_in(dan), f"/projects/{both.slug}/annotate"
    (action,) = re.findall(r'action="([^"]+/skip)"', (await client.get(home)).text)
    page = await client.get((await client.post(action, data={"reason": "knowledge"})).headers["location"])
    action, fields = judgement_form(page.text)
    page = await client.post(action, data={**fields, "choice": "1"}, headers=HTMX)
    assert "it waits for somebody else. You have judged one open pair" in page.text


async def test_today_begins_at_midnight_of_the_annotators_own_clock(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    action, fields = judgement_form((await client.get(home)).text)
    await client.post(action, data={**fields, "choice": "3"})
    now = datetime.now(UTC)
    minute = now.hour * 60 + now.minute
    # Where it is just past midnight, two minutes ago was yesterday; elsewhere it is noon, or nobody knows.
    midnight, noon = (str((start - minute + 720) % 1440 - 720) for start in (0, 720))
    await db.execute(text("ALTER TABLE judgements DISABLE TRIGGER USER"))
    await db.execute(update(Judgement).values(submitted_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 2)))
    await db.commit()
    for offset, today in ((midnight, 0), (noon, 1)):
        client.cookies.set("utc_offset", offset, domain=HOST)
        assert _bar((await client.get(home)).text)[0] == today, offset
    client.cookies.set("utc_offset", "nonsense", domain=HOST)
    assert (await client.get(home)).status_code == 200


@pytest.mark.parametrize(
    ("answer_type", "heading"),
    [("seven", "Compare two responses"), ("ranking", "Rank the responses"), ("best", "Choose the best response")],
)
async def test_the_heading_says_what_is_to_be_done(
    db: AsyncSession, sign_in: SignIn, answer_type: str, heading: str
) -> None:
    size = 2 if answer_type == "seven" else 3
    sample = Sample(SHORT.turns, ("One.", "Two.", "Three.")[:size])
    project, annotator = await arrange(db, [sample], answer_type=answer_type, size=size)
    page = await (await sign_in(annotator)).get(f"/projects/{project.slug}/annotate")
    assert f'id="heading">{heading}</h1>' in page.text
    assert f'data-heading="{heading}"' in page.text


async def test_times_are_stored_and_may_be_missing(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    page = await client.get(f"/projects/{project.slug}/annotate")
    for times in ({"first_action_ms": "812", "active_ms": "4711"}, {"first_action_ms": "", "active_ms": ""}):
        action, fields = judgement_form(page.text)
        page = await client.post(action, data={**fields, "choice": "1", **times}, headers=HTMX)
    rows = await db.execute(
        select(Judgement.first_action_ms, Judgement.active_ms)
        .where(Judgement.project_id == project.id)
        .order_by(Judgement.id)
    )
    assert [tuple(row) for row in rows] == [(812, 4711), (None, None)]


@pytest.mark.parametrize(
    "data",
    [
        {"idempotency_key": "k"},
        {"idempotency_key": "k", "choice": "0"},
        {"idempotency_key": "k", "choice": "8"},
        {"idempotency_key": "k", "choice": "A"},
        {"choice": "1"},
        {"idempotency_key": "k" * 201, "choice": "1"},
        {"idempotency_key": "k", "choice": "1", "active_ms": "-1"},
        {"idempotency_key": "k", "choice": "1", "active_ms": "9" * 30},
        {"idempotency_key": "k", "choice": "1", "first_action_ms": "soon"},
    ],
)
async def test_2_2_1_a_form_that_makes_no_sense_is_refused_whole(
    db: AsyncSession, sign_in: SignIn, data: dict[str, str]
) -> None:
    project, annotator = await arrange(db, [PROSE])
    client = await sign_in(annotator)
    action, _ = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    refused = await client.post(action, data=data)
    assert refused.status_code == 422
    assert refused.headers["x-request-id"] in refused.text
    assert await _choices(db, project) == []


@pytest.mark.parametrize(
    "address", ["/projects/%00/annotate", "/projects/{slug}/annotate?assignment=9" + "9" * 30, "/sign-in/link/%00"]
)
async def test_2_2_1_an_address_that_no_column_can_hold_is_refused(
    db: AsyncSession, sign_in: SignIn, address: str
) -> None:
    project, annotator = await arrange(db, [])
    client = await sign_in(annotator)
    assert (await client.get(address.format(slug=project.slug))).status_code in {404, 422}


async def test_a_pair_that_went_to_somebody_else_is_explained(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    other = await make_member(db, project)
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    await db.execute(update(Assignment).values(lease_expires_at=Assignment.leased_at))
    await db.commit()
    assert await assignments.lease_next(db, other, project) is not None
    await db.commit()
    for headers in ({}, HTMX):
        answer = await client.post(action, data={**fields, "choice": "2"}, headers=headers)
        assert answer.status_code == 409
        assert "Your choice was not counted: A is better." in answer.text
        assert answer.headers["x-request-id"] in answer.text
        assert ("<!doctype html>" in answer.text) is (not headers)
    assert await _choices(db, project) == []


async def test_8_2_2_nobody_reads_judges_or_skips_what_is_on_somebody_elses_desk(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE])
    other = await sign_in(await make_member(db, project))
    mine = await sign_in(annotator)
    action, fields = judgement_form((await mine.get(f"/projects/{project.slug}/annotate")).text)
    assignment_id = re.findall(r"/assignments/(\d+)/", action)[0]
    foreign = [
        await other.get(f"/projects/{project.slug}/annotate?assignment={assignment_id}"),
        await other.get(f"/projects/{project.slug}/annotate?done={assignment_id}"),
        await other.get(f"/projects/{project.slug}/annotate/pairs/{assignment_id}"),
        await other.post(action, data={**fields, "choice": "1"}),
        await other.post(action.replace("judgement", "skip"), data={"reason": "broken"}),
    ]
    assert [answer.status_code for answer in foreign] == [404] * 5
    assert not any("sourdough" in answer.text for answer in foreign)


async def test_a_waiting_page_gets_nothing_until_there_is_a_pair(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [])
    client = await sign_in(annotator)
    address = f"/projects/{project.slug}/annotate/next?waiting=true"
    assert (await client.get(address, headers=HTMX)).status_code == 204
    await make_task(db, project, "Slowly.", "Fast.")
    await db.commit()
    answer = await client.get(address, headers=HTMX)
    assert answer.text.startswith('<section id="pair"')


async def test_a_submission_by_script_is_answered_with_the_next_region_alone(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    answer = await client.post(action, data={**fields, "choice": "5"}, headers=HTMX)
    assert answer.text.lstrip().startswith('<section id="pair"')
    assert "capital of Australia" in answer.text
    assert "Saved: B is slightly better" in answer.text


@pytest.mark.parametrize("shown", ["²", "9" * 5000])
async def test_what_a_page_says_it_shows_is_left_aside_where_it_is_no_number(
    db: AsyncSession, sign_in: SignIn, shown: str
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    client = await sign_in(annotator)
    action, fields = judgement_form((await client.get(f"/projects/{project.slug}/annotate")).text)
    answer = await client.post(action, data={**fields, "choice": "5", "shown": shown}, headers=HTMX)
    assert (answer.status_code, await _choices(db, project)) == (200, [5])


async def test_nothing_that_an_annotator_is_sent_tells_where_a_response_came_from(
    db: AsyncSession, sign_in: SignIn
) -> None:
    """The bytes of page and fragment: no name or id of a model or completion, no source, score, order or position."""
    # Ids of completions begin with 8007 here, which nothing else on the page does.
    await db.execute(text("ALTER SEQUENCE completions_id_seq RESTART WITH 8007001"))
    project, annotator = await arrange(db, [LONG, SHORT, CODE_AND_TABLE])
    for number, completion in enumerate(list(await db.scalars(select(Completion)))):
        completion.source = ("starter", "imported", "person")[number % 3]
        completion.temperature = 0.734_519
        completion.token_count = 61_283
    for number, task in enumerate(list(await db.scalars(select(Task)))):
        task.selection = {"rule": "secret-rule", "propensity": 0.918_273, "gold": True, "slot": 70_707 + number}
        task.selection |= {"slice": ("random", "chosen")[number % 2], "wanted": "secret-wish", "why": "secret-reason"}
        task.priority = 55.667_788
    await db.commit()
    words = ["gold", "imported", "starter", "temperature", "completion", "position", "shown_order", "policy"]
    words += ["model_version", "reward", "propensity", "priority", "secret-", "slice", "random", "chosen"]
    numbers = ["0.918273", "0.734519", "61283", "55.667788", "8007", "7070"]
    client = await sign_in(annotator)
    page = await client.get(f"/projects/{project.slug}/annotate")
    fragments = [page]
    for _ in range(2):
        action, fields = judgement_form(fragments[-1].text)
        fragments.append(await client.post(action, data={**fields, "choice": "4"}, headers=HTMX))
    for answer in fragments:
        sent = (answer.text + repr(list(answer.headers.items()))).lower().replace("permissions-policy", "")
        sent = sent.replace("content-security-policy", "").replace("cross-origin-opener-policy", "")
        sent = sent.replace("referrer-policy", "").replace("cross-origin-resource-policy", "")
        assert [secret for secret in words + numbers if secret in sent] == []


async def test_both_panes_are_the_same_markup_but_for_letter_and_text(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [SHORT])
    client = await sign_in(annotator)
    page = (await client.get(f"/projects/{project.slug}/annotate")).text
    pane_a, pane_b = re.findall(r'<article id="pane-.*?</article>', page, flags=re.DOTALL)
    for response in SHORT.responses:
        pane_a, pane_b = pane_a.replace(response, ""), pane_b.replace(response, "")
    for letter, other in (("-b", "-a"), ("</span>B", "</span>A"), ('data-letter="B"', 'data-letter="A"')):
        pane_b = pane_b.replace(letter, other)
    swapped = pane_b
    assert pane_a == swapped


def _bar(html: str) -> tuple[int, int]:
    ((value, most),) = re.findall(r'<progress value="(\d+)" max="(\d+)"', html)
    return int(value), int(most)


def _undo(html: str) -> str:
    (address,) = re.findall(r'id="undo" href="([^"]+)"', html)
    return str(address)


def _checked(html: str) -> int:
    (value,) = re.findall(r'name="choice" value="(\d)"[^>]* checked', html)
    return int(value)


async def _choices(db: AsyncSession, project: Project) -> list[int]:
    """What counts now, in the order it was first said."""
    current = select(Judgement.choice).where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    return list(await db.scalars(current.order_by(Judgement.assignment_id)))


async def _cut_a_dataset(db: AsyncSession, project: Project) -> None:
    version = DatasetVersion(
        project_id=project.id, kind="preferences", number=1, path="x", sha256="0" * 64, row_count=1
    )
    db.add(version)
    await db.flush()
    ids = await db.scalars(select(Judgement.id).where(Judgement.project_id == project.id))
    db.add_all(DatasetJudgement(dataset_version_id=version.id, judgement_id=judgement_id) for judgement_id in ids)
    await db.commit()
