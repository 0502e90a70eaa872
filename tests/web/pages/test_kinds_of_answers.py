"""Every kind of answer by a plain form: what was said is shown again as it was said, and kept when it is refused."""

import re
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project
from app.services.projects import question
from app.web import locales
from tests.browser.conversations import PROSE, SHORT
from tests.browser.people import arrange
from tests.factories import make_task
from tests.web.conftest import SignIn
from tests.web.forms import judgement_form

HTMX = {"HX-Request": "true"}
Said = dict[str, str | list[str]]

# What is asked, how many responses there are, what is sent and how it is told.
KINDS: list[tuple[dict[str, Any], int, Said, str]] = [
    ({"answer_type": "six"}, 2, {"choice": "6"}, "B is much better"),
    ({"answer_type": "six"}, 2, {"choice": "3"}, "A is slightly better"),
    ({"answer_type": "eight"}, 2, {"choice": "4"}, "A is negligibly better, or I am unsure"),
    ({"answer_type": "eight"}, 2, {"choice": "8"}, "B is much better"),
    ({"answer_type": "seven"}, 2, {"choice": "4"}, "Both are equally good"),
    ({"answer_type": "seven"}, 3, {"rank_a": "2", "rank_b": "", "rank_c": "1"}, "C > A"),
    ({"answer_type": "ranking", "size": 4}, 3, {"rank_a": "1", "rank_b": "1", "rank_c": "2"}, "A = B > C"),
    ({"answer_type": "ranking", "size": 4}, 2, {"choice": "1"}, "A is much better"),
    ({"answer_type": "best", "size": 3}, 9, {"best": "i"}, "I is the best"),
    (
        {"criteria": ["kind", "true"], "asks_acceptable": True, "flags": ["Made <up>", "Rude"]},
        2,
        {
            "choice": "2",
            "criterion:kind": "b",
            "criterion:true": "tie",
            "acceptable_a": "yes",
            "acceptable_b": "no",
            "flag_a": ["Made <up>", "Rude"],
            "flag_b": "Rude",
        },
        "A is better",
    ),
    (
        {"asks_harm": True},
        2,
        {"choice": "5", "safe_a": "no", "safe_b": "yes", "less_harmful": "b"},
        "B is slightly better",
    ),
]


async def test_what_was_said_is_shown_again_as_it_was_said(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    for number, (asked, size, said, told) in enumerate(KINDS):
        await ask(db, project, asked, size)
        action, fields = judgement_form((await client.get(home)).text)
        answer = await client.post(action, data={**fields, **said})
        assert answer.status_code == 303, (asked, answer.text)
        done = answer.headers["location"]
        assert f"Saved: {told.replace('>', '&gt;')}" in (await client.get(done)).text
        again = (await client.get(done.replace("done", "assignment"))).text
        assert checked(again) == {name: value if isinstance(value, list) else [value] for name, value in said.items()}
        assert ">Change<" in again
        recent = (await client.get(f"{home}/recent")).text
        assert re.findall(r'"recent-said">([^<]+)<', recent)[0] == told.replace(">", "&gt;")
        today = "One judgement" if number == 0 else f"{number + 1} judgements"
        assert f"{today} today, {number + 1} in all." in recent
    assert len(re.findall("recent-said", recent)) == 10, "the last ten"


REFUSED: list[tuple[dict[str, Any], int, Said, str]] = [
    ({"rationale": "strong"}, 2, {"choice": "7", "rationale": " "}, "say in a few words why"),
    ({"rationale": "sampled", "rationale_share": 1}, 2, {"choice": "4"}, "say in a few words why"),
    ({"asks_harm": True, "criteria": ["kind"]}, 2, {"choice": "2", "criterion:kind": "a"}, "whether it is safe"),
    ({"asks_harm": True}, 2, {"choice": "2", "safe_a": "no", "safe_b": "no"}, "less harmful, too"),
    (
        {"asks_harm": True},
        2,
        {"choice": "2", "safe_a": "yes", "safe_b": "no", "less_harmful": "b"},
        "can&#39;t be more harmful",
    ),
    ({"answer_type": "ranking", "size": 3}, 3, {"rank_a": "1", "rank_b": "", "rank_c": ""}, "Rank at least two"),
    ({"asks_acceptable": True}, 2, {"choice": "2", "criterion:gone": "a", "acceptable_a": "no"}, "“gone” any more"),
]


async def test_an_answer_that_lacks_something_comes_back_with_everything_that_was_said(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    for asked, size, said, why in REFUSED:
        await ask(db, project, asked, size)
        action, fields = judgement_form((await client.get(home)).text)
        for headers in ({}, HTMX):
            refused = await client.post(action, data={**fields, **said}, headers=headers)
            assert (refused.status_code, why in refused.text) == (422, True), (asked, refused.text[-2000:])
            assert ("<!doctype html>" in refused.text) is (not headers)
            kept = checked(refused.text)
            for name, value in said.items():
                assert (name not in kept and name in ("rationale", "criterion:gone")) or kept[name] == [value], name
            assert judgement_form(refused.text)[0] == action
        await client.post(action.replace("judgement", "skip"), data={"reason": "next"})
    assert list(await db.scalars(select(Judgement.id))) == []


async def test_what_was_written_beside_an_answer_is_kept_when_it_is_refused_and_shown_when_it_was_saved(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [])
    await ask(db, project, {"asks_edit": True, "rationale": "optional", "asks_acceptable": True}, 2)
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    action, fields = judgement_form((await client.get(home)).text)
    written = {"rationale": "Because\r\n<so>.", "response": "Better: 1 < 2.", "response_of": "b"}
    wrong = await client.post(action, data={**fields, **written, "choice": "2", "criterion:gone": "a"})
    saved = await client.post(action, data={**fields, **written, "choice": "2"})
    again = await client.get(saved.headers["location"].replace("done", "assignment"))
    for page in (wrong, again):
        assert "Because\n&lt;so&gt;.</textarea>" in page.text
        assert "Better: 1 &lt; 2.</textarea>" in page.text
        assert checked(page.text) == {"choice": ["2"], "response_of": ["b"]}
        assert re.search(r'<details class="more" id="more" open>', page.text)


async def test_a_field_that_no_page_of_ours_sends_is_named(sign_in: SignIn, db: AsyncSession) -> None:
    """Before anything is looked up: the task need not even be there."""
    client = await sign_in((await arrange(db, []))[1])
    for name, value, said in (
        ("answer_type", "poem", "There is no such form of answer."),
        ("size", "two", "The field size takes a whole number."),
        ("visits", "-1", "The field visits takes a whole number."),
        ("choice", "٣", "The field choice takes a whole number."),
        ("choice", "1" * 16, "The field choice takes a whole number."),
        ("criterion:kind", "c", "The field criterion:kind can&#39;t be “c”."),
        ("acceptable_a", "perhaps", "The field acceptable_a can&#39;t be “perhaps”."),
        ("safe_a", "a", "The field safe_a can&#39;t be “a”."),
        ("less_harmful", "both", "The field less_harmful can&#39;t be “both”."),
    ):
        form = {"idempotency_key": "k", "choice": "1", name: value}
        refused = await client.post("/projects/p/assignments/1/judgement", data=form)
        assert (refused.status_code, said in refused.text) == (422, True), name


async def test_the_pair_ahead_is_the_one_that_the_next_answer_leads_to(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT, PROSE])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    action, fields = judgement_form((await client.get(home)).text)
    ahead = await client.get(f"{home}/ahead", headers=HTMX)
    assert ahead.text.lstrip().startswith('<template id="ahead">')
    following, _ = judgement_form(ahead.text)
    assert following != action
    assert judgement_form((await client.get(home)).text)[0] == action, "looking ahead serves nothing"
    shown = re.findall(r"/(\d+)/judgement", following)[0]
    after = await client.post(action, data={**fields, "choice": "1", "shown": shown}, headers=HTMX)
    third, _ = judgement_form(after.text)
    assert after.text.lstrip().startswith('<template id="ahead">')
    assert third not in (action, following)
    assert judgement_form((await client.get(home)).text)[0] == following
    # A page that shows a pair that isn't this person's any more gets a whole new region.
    stale = {**judgement_form((await client.get(home)).text)[1], "choice": "1", "shown": "999999"}
    region = await client.post(following, data=stale, headers=HTMX)
    assert region.text.lstrip().startswith('<section id="pair"')
    assert judgement_form(region.text)[0] == third
    last = await client.get(f"{home}/ahead", headers=HTMX)
    assert last.text.split() == ["<template", 'id="ahead"></template>']


async def test_what_was_said_is_told_in_the_readers_language(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [])
    client, home = await sign_in(annotator), f"/projects/{project.slug}/annotate"
    for asked, size, said in (({}, 2, {"choice": "4"}), ({"answer_type": "best", "size": 3}, 3, {"best": "b"})):
        await ask(db, project, asked, size)
        action, fields = judgement_form((await client.get(home)).text)
        await client.post(action, data={**fields, **said})
    told = {}
    for language in locales.available():
        recent = await client.get(f"{home}/recent", headers={**HTMX, "Accept-Language": language})
        assert "<html" not in recent.text
        told[language] = re.findall(r'"recent-said">([^<]+)<', recent.text)
    assert told["en"] == ["B is the best", "Both are equally good"]
    assert told["de"] == ["B ist die beste", "Beide sind gleich gut"]
    assert len({tuple(said) for said in told.values()}) == len(told) == 6
    assert all("B" in best for best, _ in told.values())


async def ask(db: AsyncSession, project: Project, asked: dict[str, Any], size: int) -> None:
    """From here on, with a new task of `size` responses."""
    project.question = question.checked({"fastest_words_per_minute": 0, **asked}).to_json()
    await make_task(db, project, *(f"Response {place}." for place in range(size)))
    await db.commit()


def checked(html: str) -> dict[str, list[str]]:
    """What is chosen on the form, by field; that nothing is chosen goes without saying."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"[^>]* checked', html):
        found.setdefault(name, []).append(value.replace("&lt;", "<").replace("&gt;", ">"))
    usual = {"response_of": [""], "reason": ["unclear"]}
    return {name: values for name, values in found.items() if usual.get(name) != values}
