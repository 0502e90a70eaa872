"""Reading aids in a real browser: plain text, marked differences, linked scrolling, code in colours, own keys."""

import random
import re

import pytest
from playwright.async_api import Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from tests.browser.conftest import PHONE, SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange
from tests.browser.steps import confirm, expect_choices

FORMATTED = "\n\n".join(
    (
        "# A **title**",
        "Some *words* and `code`,\non two lines, a [link](https://a.test) and $a_1$.",
        "- one\n- two\n  1. deep\n\n> said",
        "| Way | Cost |\n|---|---|\n| `x < y` | 1 |",
        "```python\ndef half(n):\n    return n / 2\n```",
        "$$\nE = mc^2\n$$",
    )
)
PLAIN = (
    "A title\n\nSome words and code,\non two lines, a link and a_1.\n\none\ntwo\ndeep\n\nsaid\n\n"
    "Way\tCost\nx < y\t1\n\ndef half(n):\n    return n / 2\n\nE = mc^2"
)
FRUIT = Sample(
    (("user", "Fruit?"),),
    ("I like **red apples** and pears, 你好。\n\n- ripe", "I like apples and green pears, 您好。\n\nripe"),
)


async def module_of(page: Page, name: str) -> str:
    """The address of a module as the page itself loaded it."""
    script = await page.locator("script[src*='js/annotate.js']").get_attribute("src")
    assert script is not None
    return script.replace("annotate.js", name)


async def test_plain_text_keeps_the_words_and_drops_their_form(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [Sample((("user", FORMATTED),), (FORMATTED, FORMATTED))])
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator(".katex").first).to_be_visible()
    await page.keyboard.press("p")
    for plain in await page.locator(".pane .plain, .turn .plain").all():
        assert await plain.text_content() == PLAIN
        assert await plain.locator("*").count() == 0
    assert await page.locator(".pane .plain").count() == 2
    await expect(page.locator(".panes table").first).to_be_hidden()


async def test_the_view_stays_for_the_next_pair_and_after_a_reload_and_a_sign_names_it(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [CODE_AND_TABLE, PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    sign = page.locator("#view-sign")
    await expect(sign).to_be_empty()
    await page.keyboard.press("p")
    await expect(sign).to_have_text("Plain text")
    await page.keyboard.press("1")
    await confirm(page)
    await expect(page.locator(".pane .plain", has_text="Underproofed. The crumb")).to_be_visible()
    await page.reload()
    await expect(page.locator(".pane .plain", has_text="Underproofed. The crumb")).to_be_visible()
    await page.keyboard.press("r")
    await expect(sign).to_have_text("As written")
    await expect(page.locator(".pane .raw", has_text="**Underproofed.**")).to_be_visible()
    await page.keyboard.press("r")
    await expect(sign).to_be_empty()
    await expect(page.locator(".pane .rendered").first).to_be_visible()


async def test_the_view_is_chosen_by_mouse(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.get_by_role("button", name="Reading aids").click()
    await page.get_by_role("button", name="Plain text").click()
    await expect(page.get_by_role("button", name="Plain text")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator(".pane .plain").first).to_be_visible()
    await page.get_by_role("button", name="Formatted").click()
    await expect(page.locator(".pane .rendered").first).to_be_visible()


async def test_words_that_differ_are_marked_in_both_panes(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [FRUIT, FRUIT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("d")
    await expect(page.locator("#view-sign")).to_have_text("Differences")
    marks = {tuple(await pane.locator("mark").all_text_contents()) for pane in await page.locator(".pane").all()}
    assert marks == {("red", "你好"), ("green", "您好")}
    for mark in await page.locator("mark").all():
        assert await mark.evaluate("mark => getComputedStyle(mark).textDecorationLine") == "underline"


async def test_marks_go_with_the_key_with_another_view_and_with_the_pair(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [FRUIT, FRUIT])
    page = await sign_in(annotator)
    await page.goto("/")
    for key, view in (("d", "rendered"), ("p", "plain"), ("r", "raw")):
        await page.keyboard.press("d")
        await expect(page.locator("mark")).to_have_count(4)
        await page.keyboard.press(key)
        await expect(page.locator("mark")).to_have_count(0)
        await expect(page.locator("body")).to_have_attribute("data-view", view)
    await page.keyboard.press("d")
    await page.keyboard.press("4")
    await confirm(page)
    await expect(page.locator("mark")).to_have_count(0)
    await expect(page.locator("#differences")).not_to_be_checked()
    await expect(page.locator("#view-sign")).to_have_text("As written")


async def test_texts_that_are_too_long_are_not_compared_and_said_to_be(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [Sample((("user", "Count."),), ("one " * 6_000, "two " * 6_000))])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("d")
    await expect(page.locator(".toast")).to_contain_text("too long to be compared")
    await expect(page.locator("mark")).to_have_count(0)
    await expect(page.locator("body")).to_have_attribute("data-view", "rendered")


async def test_several_responses_are_not_compared(db: AsyncSession, sign_in: SignIn) -> None:
    four = Sample((("user", "Name a colour."),), ("Red.", "Green.", "Blue.", "Grey."))
    _, annotator = await arrange(db, [four], answer_type="ranking", size=4)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("d")
    await expect(page.locator("#differences")).to_be_disabled()
    await expect(page.locator("mark")).to_have_count(0)
    await page.keyboard.press("p")
    await expect(page.locator(".pane .plain")).to_have_count(4)


async def test_the_marks_are_as_few_as_can_be_and_taking_them_off_restores_the_text(
    db: AsyncSession, sign_in: SignIn
) -> None:
    """Against the textbook's table, on random texts of a few words; then on odd ones."""
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    chance = random.Random(11)
    texts = [" ".join(chance.choices("abcd", k=chance.randrange(30))) for _ in range(200)]
    texts += [
        "",
        " \n",
        "a\u0301 \U0001f469\u200d\U0001f680",
        "<mark>x</mark> & y",
        "\u202eabc  d\te\n\nf",
        "你好，世界",
    ]
    pairs = [(one, other) for one, other in zip(texts, [*texts[1:], texts[0]], strict=True)]
    results = await page.evaluate(
        """async ([module, pairs]) => {
             const { differences, mark, unmark } = await import(module);
             return pairs.map((both) => differences(...both).map((places, side) => {
               const element = document.createElement("div");
               element.textContent = both[side];
               mark(element, places);
               const marked = [...element.querySelectorAll("mark")].map((found) => found.textContent);
               const texts = [...element.childNodes].filter((node) => node.nodeName === "#text");
               const kept = texts.map((node) => node.data);
               const whole = element.textContent;
               unmark(element);
               return { marked, kept, whole, restored: element.textContent, children: element.children.length };
             }));
           }""",
        [await module_of(page, "diff.js"), pairs],
    )
    for texts_of_pair, sides in zip(pairs, results, strict=True):
        assert [side["whole"] for side in sides] == [side["restored"] for side in sides] == list(texts_of_pair)
        assert [side["children"] for side in sides] == [0, 0]
        if re.fullmatch("[abcd ]*", "".join(texts_of_pair)):
            one, other = ("".join(side["kept"]).split() for side in sides)
            assert one == other
            assert len(one) == _longest_common(*(text.split() for text in texts_of_pair))


async def test_linked_panes_scroll_in_proportion_and_stay_linked_after_a_reload(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [LONG])
    page = await sign_in(annotator, viewport={"width": 1100, "height": 620})
    await page.goto("/")
    await _scroll_to(page, "a", 1)
    await _settle(page)
    assert await _share(page, "b") == 0
    await _scroll_to(page, "a", 0)
    await page.keyboard.press("l")
    await page.reload()
    await expect(page.locator("#linked")).to_be_checked()
    for leader, follower, share in (("a", "b", 1.0), ("b", "a", 0.5), ("a", "b", 0.25), ("b", "a", 0.0)):
        await _scroll_to(page, leader, share)
        await page.wait_for_function(
            "([pane, share]) => { const e = document.querySelector(`#pane-${pane} .pane-scroll`);"
            " return Math.abs(e.scrollTop / (e.scrollHeight - e.clientHeight) - share) < 0.02; }",
            arg=[follower, share],
        )
        await _settle(page)
        assert await _share(page, leader) == pytest.approx(share, abs=0.02)
    await page.keyboard.press("l")
    await _scroll_to(page, "a", 1)
    await _settle(page)
    assert await _share(page, "b") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_code_is_in_colours_and_as_plain_text_in_none(db: AsyncSession, sign_in: SignIn, theme: str) -> None:
    _, annotator = await arrange(db, [CODE_AND_TABLE])
    page = await sign_in(annotator, color_scheme=theme)
    await page.goto("/")
    keyword = page.locator(".pane .code-keyword").first
    ink = await page.locator(".pane .model-text").first.evaluate("text => getComputedStyle(text).color")
    assert await keyword.evaluate("word => getComputedStyle(word).color") != ink
    await page.keyboard.press("p")
    await expect(page.locator(".pane .plain", has_text="heapq.nlargest(3, rows")).to_be_visible()
    assert await page.locator(".plain [class^=code-]").count() == 0


async def test_a_key_of_ones_own_holds_after_a_reload_and_the_old_one_does_nothing(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await _change(page, "p", "x")
    await _change(page, "Enter", "n")
    await page.reload()
    await expect(page.locator("#aids kbd").first).to_have_text("x")
    await expect(page.locator("#help kbd").get_by_text("x", exact=True)).to_have_count(1)
    await page.keyboard.press("p")
    await expect(page.locator("body")).to_have_attribute("data-view", "rendered")
    await page.keyboard.press("x")
    await expect(page.locator("body")).to_have_attribute("data-view", "plain")
    await page.keyboard.press("3")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("sourdough")
    await page.keyboard.press("n")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [3])
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Change keys").click()
    await page.get_by_role("button", name="Back to the defaults").click()
    await page.keyboard.press("Escape")
    await page.keyboard.press("p")
    await expect(page.locator("body")).to_have_attribute("data-view", "rendered")


async def test_the_keys_beside_controls_follow_on_every_pair(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE, SHORT], asks_acceptable=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await _change(page, "s", "k")
    await _change(page, "q", "j")
    await page.keyboard.press("4")
    await confirm(page)
    await expect(page.locator("[popovertarget=skip] kbd").first).to_have_text("k")
    await expect(page.locator("#more .criterion kbd").first).to_have_text("j")
    await page.keyboard.press("j")
    await expect(page.locator("[name=acceptable_a]:checked")).to_have_value("yes")
    await page.keyboard.press("s")
    await expect(page.locator("#skip")).to_be_hidden()
    await page.keyboard.press("k")
    await expect(page.locator("#skip")).to_be_visible()


# What a key writes, where it is on the keyboard, whether Shift is down, and the segment that is chosen.
DIGITS = [
    *(("&", "Digit1", False, "1"), ("è", "Digit7", False, "7"), ("(", "Digit5", False, "5")),  # AZERTY
    *(("+", "Digit1", False, "1"), ("ě", "Digit2", False, "2")),  # Czech
    *(("٣", "Digit3", False, "3"), ("۶", "Digit6", False, "6"), ("３", "", False, "3"), ("४", "", False, "4")),
    *(("Dead", "Digit5", False, "5"), ("Dead", "Digit6", True, None), ("ă", "Digit1", False, "1")),  # Vietnamese
    *(("Process", "Digit2", False, "2"), ("Unidentified", "Digit4", False, "4")),  # an input method, an odd driver
    *(("1", "Digit1", True, "1"), ("!", "Digit1", True, None), (",", "KeyM", False, None)),
]
PRESS = """([key, code, shiftKey]) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true }))"""


async def test_keyboards_of_other_layouts_and_scripts_choose_by_value_and_by_place(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    for key, code, shift, chosen in DIGITS:
        await page.evaluate("document.getElementById('judgement').reset()")
        await page.evaluate(PRESS, [key, code, shift])
        found = await page.locator("[name=choice]:checked").evaluate_all("radios => radios.map((radio) => radio.value)")
        assert found == ([chosen] if chosen else []), key
    for key in ("ы", "с", "σ", "س", "Process"):
        await page.evaluate(PRESS, [key, "KeyS", False])
        await expect(page.locator("#skip")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#skip")).to_be_hidden()


async def test_a_digit_can_be_given_another_key_and_its_own_is_free_then(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await _change(page, "3", "f")
    await _change(page, "p", "3")
    await expect(page.locator(".segment-digit")).to_have_text(["1", "2", "f", "4", "5", "6", "7"])
    await page.keyboard.press("3")
    await expect(page.locator("body")).to_have_attribute("data-view", "plain")
    await expect(page.locator("[name=choice]:checked")).to_have_count(0)
    await page.keyboard.press("f")
    await expect(page.locator("[name=choice]:checked")).to_have_value("3")


async def test_a_key_in_use_a_space_and_escape_are_refused_in_a_sentence(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Change keys").click()
    button = page.locator(".key-change").get_by_text("p", exact=True)
    said = page.locator("#keys-said")
    await button.click()
    await expect(said).to_contain_text("Press the new key for: Show the texts as plain text")
    await page.keyboard.press("u")
    await expect(said).to_contain_text("This key is in use already: Undo")
    for key in (" ", "ArrowLeft"):
        await page.keyboard.press(key)
        await expect(said).to_contain_text("Choose a letter, a digit or a sign.")
    await page.keyboard.press("5")
    await expect(said).to_contain_text("This key is in use already: Choose, from A much better")
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_visible()
    await expect(button).to_be_visible()
    await expect(page.locator("[name=choice]:checked")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()


async def test_a_text_field_takes_every_key(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE], rationale="optional")
    page = await sign_in(annotator)
    await page.goto("/")
    await _change(page, "u", "z")
    await page.keyboard.press("m")
    field = page.locator("[name=rationale]")
    await field.focus()
    await page.keyboard.type("zuprdlmqwsgh?1234567")
    await expect(field).to_have_value("zuprdlmqwsgh?1234567")
    await expect(page.locator("[name=choice]:checked")).to_have_count(0)
    await expect(page.locator("body")).to_have_attribute("data-view", "rendered")


async def test_on_a_phone_the_sign_and_the_aids_have_room(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator, viewport=PHONE, has_touch=True, is_mobile=True)
    await page.goto("/")
    await page.get_by_role("button", name="Reading aids").tap()
    await page.locator("#differences").tap()
    await page.keyboard.press("Escape")
    await expect(page.locator("#view-sign")).to_be_in_viewport(ratio=1)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    bar = page.locator(".topbar")
    assert await bar.evaluate("bar => bar.scrollWidth <= bar.clientWidth")


async def _change(page: Page, key: str, new: str) -> None:
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Change keys").click()
    await page.locator(".key-change").get_by_text(key, exact=True).click()
    await page.keyboard.press(new)
    await expect(page.locator("#keys-said")).to_contain_text("Changed: ")
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()


async def _scroll_to(page: Page, pane: str, share: float) -> None:
    await page.locator(f"#pane-{pane} .pane-scroll").evaluate(
        "(pane, share) => { pane.scrollTop = share * (pane.scrollHeight - pane.clientHeight); }", share
    )


async def _share(page: Page, pane: str) -> float:
    share: float = await page.locator(f"#pane-{pane} .pane-scroll").evaluate(
        "pane => pane.scrollTop / (pane.scrollHeight - pane.clientHeight)"
    )
    return share


async def _settle(page: Page) -> None:
    """Two frames: scroll events are sent before each."""
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _longest_common(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        above = row[:]
        for index, there in enumerate(other, 1):
            row[index] = above[index - 1] + 1 if word == there else max(above[index], row[index - 1])
    return row[-1]
