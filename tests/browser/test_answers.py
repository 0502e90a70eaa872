"""Every form of answer in a real browser, by keys alone and by mouse, read back from the database and the export."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Demonstration, Judgement, Project
from app.services.data import datasets
from tests.browser.conftest import SignIn
from tests.browser.conversations import Sample
from tests.browser.people import arrange
from tests.browser.steps import expect_choices, judgements, sent
from tests.exporting import exported

COLOURS = ("Red, the first.", "Green, the second.", "Blue, the third.", "Grey, the fourth.")
PAIR = Sample((("user", "Name a colour."),), COLOURS[:2])
FOUR = Sample((("user", "Name a colour."),), COLOURS)


async def shown(page: Page) -> list[str]:
    """The responses in the order of the panes."""
    return [(await pane.inner_text()).strip() for pane in await page.locator(".pane .rendered").all()]


async def the_one(db: AsyncSession, page: Page, project: Project) -> Judgement:
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await sent(page)
    (judgement,) = await judgements(db, project)
    return judgement


async def pairs_of_export(db: AsyncSession, project: Project, home: Path) -> list[tuple[str, str]]:
    version = await datasets.cut_preferences(db, project, home=home)
    rows = await exported(db, version, home)
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]


@pytest.mark.parametrize(("answer_type", "segments"), [("six", 6), ("eight", 8)])
async def test_a_scale_without_a_tie_by_its_last_key(
    db: AsyncSession, sign_in: SignIn, tmp_path: Path, answer_type: str, segments: int
) -> None:
    project, annotator = await arrange(db, [PAIR], answer_type=answer_type)
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator(".segment")).to_have_count(segments)
    await expect(page.locator(".segment-word", has_text="tie")).to_have_count(0)
    a, b = await shown(page)
    await page.keyboard.press(str(segments))
    await page.keyboard.press("Enter")
    row = await the_one(db, page, project)
    assert (row.answer_type, row.choice) == (answer_type, segments)
    assert abs(row.preference or 0) == segments // 2
    assert await pairs_of_export(db, project, tmp_path) == [(b, a)]


async def test_four_are_ranked_by_keys_with_a_tie_and_a_gap(db: AsyncSession, sign_in: SignIn, tmp_path: Path) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    panes = await shown(page)
    for key in ("2", "1", "2"):  # each moves on to the next pane; D stays unranked
        await page.keyboard.press(key)
    await expect(page.locator("#board [data-rank='2'] .chip")).to_have_text(["A", "C"])
    await expect(page.locator("#board [data-rank=''] .chip")).to_have_text(["D"])
    await page.keyboard.press("Enter")
    await expect_ranks(db, page, project, dict(zip(panes, (2, 1, 2, None), strict=True)))
    told = await said_in_export(db, project, tmp_path)
    assert dict(zip(told["responses"], told["ranks"], strict=True)) == dict(zip(panes, (2, 1, 2, 0), strict=True))
    a, b, c, _ = panes
    assert sorted(await pairs_of_export(db, project, tmp_path)) == sorted([(b, a), (b, c)])


async def test_a_rank_is_changed_and_taken_back_by_keys(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    panes = await shown(page)
    for key in ("1", "2", "3", "4", "ArrowLeft", "0", "ArrowLeft", "4", "Enter"):
        await page.keyboard.press(key)
    await expect_ranks(db, page, project, dict(zip(panes, (1, 4, None, 4), strict=True)))


async def test_four_are_ranked_by_mouse(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    panes = await shown(page)
    for letter, rank in zip("abcd", (3, 1, 4, 2), strict=True):
        await page.locator(f"#pane-{letter} .place", has_text=str(rank)).click()
    await page.get_by_role("button", name="Next").click()
    await expect_ranks(db, page, project, dict(zip(panes, (3, 1, 4, 2), strict=True)))


async def test_four_are_ranked_by_drag(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    panes = await shown(page)
    for letter, rank in (("D", 1), ("A", 2), ("B", 2), ("D", 3)):
        await drag(page, letter, rank)
        await expect(page.locator(f"#board [data-rank='{rank}'] [data-letter='{letter}']")).to_be_visible()
    await page.get_by_role("button", name="Next").click()
    await expect_ranks(db, page, project, dict(zip(panes, (2, 2, None, 3), strict=True)))


async def test_one_rank_alone_is_no_ranking_and_is_kept_until_there_is_another(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator("#problem")).to_have_text("Rank at least two responses first.")
    assert await judgements(db, project) == []
    await expect(page.locator("#board [data-rank='1'] .chip")).to_have_text(["A"])


@pytest.mark.parametrize("hand", ["key", "mouse"])
async def test_the_best_of_four(db: AsyncSession, sign_in: SignIn, tmp_path: Path, hand: str) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="best", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    a, b, c, d = await shown(page)
    if hand == "key":
        await page.keyboard.press("3")
        await page.keyboard.press("Enter")
    else:
        await page.locator("#pane-c .best").click()
        await page.get_by_role("button", name="Next").click()
    await expect_ranks(db, page, project, {a: None, b: None, c: 1, d: None})
    assert sorted(await pairs_of_export(db, project, tmp_path)) == sorted([(c, a), (c, b), (c, d)])


EVERYTHING: dict[str, Any] = {
    "criteria": ["helpful", "honest", "harmless"],
    "asks_acceptable": True,
    "flags": ["Makes facts up", "Violent content"],
    "rationale": "optional",
    "asks_edit": True,
}
REASON = "A says „rot“ — \\n and <b>؟ 你好"
BETTER = "Red.\n\n```\n<x> & y\n```\n  indented, ends in a space "


@pytest.mark.parametrize("hand", ["keys", "mouse"])
async def test_everything_that_can_be_said_beside_the_verdict(
    db: AsyncSession, sign_in: SignIn, tmp_path: Path, hand: str
) -> None:
    project, annotator = await arrange(db, [PAIR], **EVERYTHING)
    page = await sign_in(annotator)
    await page.goto("/")
    await (_by_keys(page) if hand == "keys" else _by_mouse(page))
    row = await the_one(db, page, project)
    first = 1 if row.shown_order == [0, 1] else -1
    assert row.criteria == {"helpful": first, "harmless": 0}
    assert row.acceptable == ([True, False] if first == 1 else [False, True])
    assert row.flags == {str(row.shown_order[1]): ["Makes facts up"]}
    assert row.rationale == REASON
    made = (await db.scalars(select(Demonstration).where(Demonstration.judgement_id == row.id))).one()
    assert made.text == BETTER.strip()
    assert made.source == "edited"
    assert (row.visits, row.hurried) == (1, False)
    assert row.client_version
    told = await said_in_export(db, project, tmp_path)
    assert told["responses"] == list(COLOURS[:2])
    assert (json.loads(told["criteria"]), json.loads(told["flags"])) == (row.criteria, row.flags)
    assert told["acceptable"] == [{True: "yes", False: "no", None: ""}[said] for said in row.acceptable or ()]
    assert (told["rationale"], told["better_response"]) == (REASON, BETTER.strip())
    assert told["better_response_of"] == row.shown_order[0]
    assert (told["choice"], told["preference"], told["shown_order"]) == (2, 2 * first, row.shown_order)


async def test_what_was_said_is_there_again_after_undo(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PAIR], **EVERYTHING)
    page = await sign_in(annotator)
    await page.goto("/")
    await _by_keys(page)
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await page.keyboard.press("u")
    await expect(page.locator("[name=choice]:checked")).to_have_value("2")
    await expect(page.locator("[name='criterion:helpful']:checked")).to_have_value("a")
    await expect(page.locator("[name=acceptable_b]:checked")).to_have_value("no")
    await expect(page.locator("[name=flag_b]:checked")).to_have_value("Makes facts up")
    await expect(page.locator("[name=rationale]")).to_have_value(REASON)
    await expect(page.locator("[name=response]")).to_have_value(BETTER.strip())


async def test_all_that_was_filled_in_outlives_a_closed_tab(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PAIR], **EVERYTHING)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("m")
    await page.locator("[name=rationale]").fill(REASON)
    await page.locator("#more .place", has_text="tie").first.click()
    again = await page.context.new_page()
    await page.close()
    await again.goto("/")
    await expect(again.locator("[name=rationale]")).to_have_value(REASON)
    await expect(again.locator("[name='criterion:helpful']:checked")).to_have_value("tie")


async def test_what_was_written_is_not_overwritten_by_a_response_to_edit(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PAIR], asks_edit=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("m")
    a, b = await shown(page)
    for index, text in ((0, a), (1, b), (2, "")):
        await page.locator(".better-of .place").nth(index).click()
        await expect(page.locator("[name=response]")).to_have_value(text)
    await page.locator("[name=response]").fill("My own.")
    await page.locator(".better-of .place").first.click()
    await expect(page.locator("[name=response]")).to_have_value("My own.")


async def test_a_strong_choice_asks_for_its_reason_and_goes_on_with_it(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR], rationale="strong")
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator("#problem")).to_have_text("Please say in a few words why.")
    await expect(page.locator("[name=rationale]")).to_be_focused()
    await page.keyboard.type("Names it")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Enter")
    assert (await the_one(db, page, project)).rationale == "Names it"


async def test_without_script_a_missing_reason_is_asked_for_and_nothing_is_lost(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PAIR], **{**EVERYTHING, "rationale": "strong"})
    page = await sign_in(annotator, java_script_enabled=False)
    await page.goto("/")
    await page.locator(".segment").first.click()
    await page.locator("#more summary").click()
    await page.locator("#more .place", has_text="yes").first.click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_role("alert")).to_contain_text("Please say in a few words why.")
    await expect(page.locator("[name=choice]:checked")).to_have_value("1")
    await expect(page.locator("[name=acceptable_a]:checked")).to_have_value("yes")
    await page.locator("[name=rationale]").fill("Because.")
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    (row,) = await judgements(db, project)
    assert (row.choice, row.rationale) == (1, "Because.")


async def test_without_script_four_are_ranked(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [FOUR], answer_type="ranking", size=4)
    page = await sign_in(annotator, java_script_enabled=False)
    await page.goto("/")
    panes = await shown(page)
    await page.locator("#pane-b .place", has_text="1").click()
    await page.locator("#pane-d .place", has_text="2").click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Saved: B > D")).to_be_visible()
    (row,) = await judgements(db, project)
    assert row.ranks == [dict(zip(panes, (None, 1, None, 2), strict=True))[text] for text in COLOURS]


async def test_an_answer_faster_than_reading_is_asked_about_once_and_says_so(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR], fastest_words_per_minute=1)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("5")
    await page.keyboard.press("Enter")
    await expect(page.locator("#problem")).to_contain_text("faster than reading")
    assert await judgements(db, project) == []
    await page.keyboard.press("Enter")
    assert (await the_one(db, page, project)).hurried


async def test_keys_for_the_pair_after_a_held_one_never_change_it(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR, PAIR], fastest_words_per_minute=1)
    page = await sign_in(annotator)
    await page.clock.install()
    await page.goto("/")
    for key in ("1", "Enter", "7", "Enter"):
        await page.keyboard.press(key)
    problem = page.locator("#problem")
    await expect(problem).to_have_text("This is still the same task: A is much better. Enter again if you are sure.")
    assert await judgements(db, project) == []
    # Whoever has read that changes the answer, and is asked once more.
    await page.clock.fast_forward(2_000)
    for key in ("6", "Enter"):
        await page.keyboard.press(key)
    await expect(problem).to_have_text("This is still the same task: B is better. Enter again if you are sure.")
    await page.keyboard.press("Enter")
    await expect_choices(db, project, [6])


async def test_ranks_for_the_task_after_a_held_one_never_mix_with_its_own(db: AsyncSession, sign_in: SignIn) -> None:
    asked = {"answer_type": "ranking", "size": 4, "fastest_words_per_minute": 1}
    project, annotator = await arrange(db, [FOUR, FOUR], **asked)
    page = await sign_in(annotator)
    await page.clock.install()
    await page.goto("/")
    for key in ("1", "2", "3", "4", "Enter", "4", "3", "2", "1", "Enter"):
        await page.keyboard.press(key)
    problem = page.locator("#problem")
    await expect(problem).to_contain_text("A > B > C > D")
    assert await judgements(db, project) == []
    await page.clock.fast_forward(2_000)
    for key in ("4", "3", "2", "1", "Enter"):  # typed anew, from the first response on
        await page.keyboard.press(key)
    await expect(problem).to_contain_text("D > C > B > A")
    assert await judgements(db, project) == []


async def test_four_tasks_are_fetched_ahead_and_two_tabs_have_the_same(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR] * 7)
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator("html")).to_have_attribute("data-ahead", "4")
    second = await page.context.new_page()
    await second.goto("/")
    await expect(second.locator("html")).to_have_attribute("data-ahead", "4")
    leases = (await db.scalars(select(Assignment).where(Assignment.project_id == project.id))).all()
    assert sorted(lease.served_at is None for lease in leases) == [False, *[True] * 4]


async def said_in_export(db: AsyncSession, project: Project, home: Path) -> dict[str, Any]:
    """The one judgement as the export tells it, through a line of JSON."""
    version = await datasets.cut_preferences(db, project, home=home)
    (row,) = await exported(db, version, home, schema="judgements")
    return dict(row)


async def expect_ranks(db: AsyncSession, page: Page, project: Project, ranks: dict[str, int | None]) -> None:
    """`ranks` by text; they are stored by the response's own place, whatever pane it was in."""
    row = await the_one(db, page, project)
    assert row.ranks == [ranks[text] for text in COLOURS]


async def drag(page: Page, letter: str, rank: int) -> None:
    chip = await page.locator(f"#board [data-letter='{letter}']").bounding_box()
    slot = await page.locator(f"#board [data-rank='{rank}']").bounding_box()
    assert chip is not None
    assert slot is not None
    await page.mouse.move(chip["x"] + chip["width"] / 2, chip["y"] + chip["height"] / 2)
    await page.mouse.down()
    await page.mouse.move(slot["x"] + slot["width"] / 2, slot["y"] + slot["height"] / 2, steps=4)
    await page.mouse.up()


async def _by_keys(page: Page) -> None:
    """Tab and Space and arrows alone, but for the keys that the page has of its own."""
    await page.keyboard.press("2")
    await page.keyboard.press("q")
    await page.keyboard.press("w")
    await page.keyboard.press("w")
    await expect(page.locator("#more")).to_have_attribute("open", "")
    await page.locator("#more summary").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")  # helpful: A
    await page.keyboard.press("Tab")  # honest: not said
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await page.keyboard.press("ArrowRight")  # harmless: tie
    await page.keyboard.press("Tab")  # acceptable, A
    await page.keyboard.press("Tab")  # flags of A
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")  # acceptable, B
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.locator("[name=rationale]")).to_be_focused()
    await page.keyboard.insert_text(REASON)
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")  # from “Write one” to “Edit A”
    await expect(page.locator("[name=response]")).not_to_have_value("")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(BETTER)
    await page.keyboard.press("Escape")
    await page.keyboard.press("Enter")


async def _by_mouse(page: Page) -> None:
    await page.locator(".segment").nth(1).click()
    await page.locator("#more summary").click()
    helpful, _, harmless = await page.locator(".criteria .criterion").all()
    await helpful.locator(".place").nth(0).click()
    await harmless.locator(".place").nth(1).click()
    a, b = await page.locator(".of-one").all()
    await a.locator(".place", has_text="yes").click()
    await b.locator(".place", has_text="no").click()
    await b.get_by_label("Makes facts up").click()
    await page.locator("[name=rationale]").fill(REASON)
    await page.locator(".better-of .place").first.click()
    await expect(page.locator("[name=response]")).not_to_have_value("")
    await page.locator("[name=response]").fill(BETTER)
    await page.get_by_role("button", name="Next").click()
