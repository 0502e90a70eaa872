"""Somebody new, from a site in which nothing is to what people prefer: by what pages show, and nothing else.

`plumbline up` is a process of its own, with its site, its worker and the real stages of training.
"""

import asyncio
import csv
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import DESKTOP, WAIT_MS
from tests.browser.steps import confirm, sent
from tests.models.directories import write_directory
from tests.served_endpoint import KEY, LOOPBACK, ServedEndpoint, endpoint, says
from tests.up import LINK, Up, free_port, processes_of

__all__ = ["endpoint"]
pytestmark = pytest.mark.e2e

Newcomer = Callable[[], Awaitable[Page]]

PASSWORD = "correct horse battery"
THINGS = (
    *("bread", "tea", "soup", "a letter", "a bed", "a fire", "jam", "cheese", "a kite", "a fence"),
    *("candles", "ink", "paper", "a raft", "butter", "a basket", "soap", "a map", "yoghurt", "a bench"),
)
PROMPTS = [f"How do I make {thing}?" for thing in THINGS]
# Several runs, each of which loads torch before it has anything to do, while other tests have the machine, too.
ROUND_MS = 400_000
PAIRS = 8
SMALL: Mapping[str, Mapping[str, object]] = {
    "The round": {
        "New judgements that a round waits for": 2 * PAIRS,
        "Responses that it writes to each": 2,
        "pairs_per_round": PAIRS,
    },
    "Gate of the reward model": {"accuracy_low": 0},
    "Reward model": {
        "Way to learn": "finetune",
        "reference_samples": 8,
        "max_new_tokens": 8,
        "examined_prompts": 1,
    },
    "PPO": {
        "Iterations": 1,
        "Responses of an iteration": 8,
        "Longest response, in tokens": 8,
        "minibatch_size": 8,
        "detector_responses": 0,
    },
    "Generate": {"Longest response, in tokens": 8},
    "Evaluate": {"Responses to each prompt": 2, "Longest response, in tokens": 8},
}
"""A round for a machine without a minute to spare, by the words of the pages."""


@pytest.mark.slow
async def test_prompts_and_a_model_of_the_machine_become_a_policy_that_writes_new_pairs(
    up: Up, newcomer: Newcomer, tmp_path: Path
) -> None:
    model = write_directory("gpt2", tmp_path / "tiny")
    owner = await newcomer()
    await come_in_first(owner, up)
    await begin(owner, "Making things", "Compare responses of a policy")
    await bring(owner, csv_of(tmp_path / "prompts.csv", ["prompt"], [[prompt] for prompt in PROMPTS]))
    await expect(owner.locator("h1")).to_have_text("20 prompts are here.")
    await owner.get_by_role("button", name="Go on").click()
    await owner.get_by_label("A model of this machine").check()
    await owner.get_by_label("Directory, or owner/name").fill(str(model))
    await owner.get_by_role("button", name="Check it").click()
    await expect(owner.get_by_role("region", name=str(model))).to_contain_text("gpt2")
    await owner.get_by_role("button", name="Go on").click()
    await owner.get_by_label("People who judge each new task").fill("2")
    bo, cleo = await ask_and_invite(owner, newcomer)
    await expect(bo.get_by_role("heading", name="Nothing to compare right now")).to_be_visible()
    await owner.get_by_role("link", name="To the project").click()
    await choose(owner, SMALL)
    await go_to(owner, "Loop")
    await owner.get_by_role("button", name="Take the model as it is").click()
    await expect(owner.get_by_text("It made policy 1")).to_be_visible()
    # The policy is still writing: nobody has to know that.
    await go_to(owner, "Loop")
    await start_round(owner, 1)

    # Whoever left the page open has a pair on it by itself.
    await judge(bo, PAIRS)
    desk = bo.url
    await bo.goto("about:blank")
    await judge(cleo, PAIRS, otherwise={3})
    await go_to(owner, "People", "Agreement")
    await expect(owner.locator("h1")).to_have_text(
        "Two people or more have judged 8 tasks: too few to say how far they agree."
    )
    await expect(owner.get_by_role("row", name="Bo · Cleo")).to_contain_text("8")
    await go_to(owner, "Loop")
    await expect(owner.get_by_text("Round 1 ended:")).to_contain_text("not clearly more than 50%", timeout=ROUND_MS)
    await go_to(owner, "Models")
    refused = owner.get_by_role("listitem").filter(has=owner.get_by_role("heading", name="Policy 2"))
    await refused.get_by_role("button", name="Promote", exact=True).click()
    await expect(refused.get_by_role("dialog")).to_contain_text("Its gate refused it.")
    await refused.get_by_label("Why it is to be used all the same").fill("Only to see whether it writes.")
    await refused.get_by_role("button", name="Promote policy 2").click()
    await expect(owner.locator("h1")).to_contain_text("Policy 2 is in use")
    await expect(owner.get_by_role("row", name="Only to see whether it writes.")).to_contain_text("against its gate")
    await go_to(owner, "Loop")
    await start_round(owner, 2)

    # Pairs of the policy before are open, too; people see the newest first.
    await bo.goto(desk)
    await judge(bo, 1)
    await go_to(owner, "Data", "Tasks")
    await owner.get_by_label("Policy number").fill("2")
    await owner.get_by_label("Annotator").fill("Bo")
    await owner.get_by_role("button", name="Show").click()
    await owner.get_by_role("rowheader").get_by_role("link").click()
    for letter in "AB":
        await expect(owner.get_by_role("article", name=f"Response {letter}")).to_contain_text("Policy 2")


async def test_unlabelled_pairs_and_a_served_model_become_a_dataset(
    up: Up, newcomer: Newcomer, endpoint: ServedEndpoint, tmp_path: Path
) -> None:
    rows = [[prompt, f"Slowly, with {prompt[14:-1]} in mind.", "No."] for prompt in PROMPTS[:4]]
    endpoint.reply = lambda asked: says(f"Take number {len(endpoint.asked)}: {asked.prompt}")
    owner = await newcomer()
    await come_in_first(owner, up)
    await begin(owner, "Whose words", "Compare responses that I bring")
    await bring(owner, csv_of(tmp_path / "pairs.csv", ["prompt", "response_a", "response_b"], rows))
    await expect(owner.locator("h1")).to_have_text("4 prompts are here.")
    await owner.get_by_role("button", name="Go on").click()
    await owner.get_by_role("link", name="Served models").click()
    await owner.get_by_label("What it is called here").fill("Vicuña")
    await owner.get_by_label("Address").fill(endpoint.address)
    await owner.get_by_label("Model name").fill("vicuna-13b")
    await owner.get_by_label("Key").fill(KEY)
    await owner.get_by_role("button", name="Add").click()
    await owner.get_by_role("button", name="Write responses").click()
    await owner.get_by_label("Prompts to answer").fill("4")
    await owner.get_by_role("dialog").get_by_role("button", name="Write responses").click()
    await expect(owner.locator("h1")).to_have_text("Ask a served model is done: 8 responses received.")
    await owner.get_by_role("link", name="Continue setting up").click()
    await owner.get_by_role("button", name="Go on").click()
    bo, cleo = await ask_and_invite(owner, newcomer)
    await owner.reload()
    await expect(owner.locator("h1")).to_have_text("8 tasks wait to be judged.")

    await judge(bo, 8)
    await judge(cleo, 8)
    await owner.get_by_role("link", name="To the project").click()
    await go_to(owner, "Data", "Dataset versions")
    await owner.get_by_role("button", name="Cut a version").click()
    row = owner.get_by_role("row", name="Preferences 1")
    await expect(row).to_be_visible()
    async with owner.expect_download() as download:
        await row.get_by_role("link", name="JSONL", exact=True).click()
    lines = (await (await download.value).path()).read_text().splitlines()
    assert len(lines) == 16


async def come_in_first(page: Page, up: Up) -> None:
    """By the link that was printed when the site started."""
    (_, link), *_ = LINK.findall(up.said)
    await page.goto(link)
    await page.get_by_role("button", name="Sign in as Admin").click()
    await choose_password(page, "ada@example.org")
    await expect(page.locator("h1")).to_have_text("You are in no project yet.")


async def choose_password(page: Page, address: str) -> None:
    await page.get_by_label("E-mail").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Once more").fill(PASSWORD)
    await page.get_by_role("button", name="Keep this password").click()


async def begin(page: Page, name: str, template: str) -> None:
    await page.get_by_role("link", name="New project").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label(template).check()
    await page.get_by_role("button", name="Create and go on").click()


async def bring(page: Page, file: Path) -> None:
    """All rows of a file, from the first step of a new project and back to it."""
    await page.get_by_role("link", name="Upload or paste").click()
    await page.get_by_label("A file, chosen or dropped here").set_input_files(file)
    await page.get_by_role("button", name="Look at it").click()
    await page.get_by_role("button", name="Import").click()
    await page.get_by_role("link", name="Go on where you were").click()


async def ask_and_invite(owner: Page, newcomer: Newcomer) -> tuple[Page, Page]:
    """The last two steps of a new project, and two people who follow their links."""
    await owner.get_by_label("Fastest reading").fill("0")
    await owner.get_by_role("button", name="Keep it and go on").first.click()
    await owner.get_by_label("Names or e-mail addresses").fill("Bo\nCleo")
    await owner.get_by_role("button", name="Add and go on").click()
    invited = owner.get_by_role("status", name="2 invitations").get_by_role("listitem")
    links = {
        name: await invited.filter(has=owner.get_by_text(name, exact=True)).locator("code").inner_text()
        for name in ("Bo", "Cleo")
    }
    bo, cleo = [await come_in(await newcomer(), link, name) for name, link in links.items()]
    return bo, cleo


async def come_in(page: Page, link: str, name: str) -> Page:
    await page.goto(link)
    await expect(page.get_by_label("Your name")).to_have_value(name)
    await page.get_by_role("button", name="Join").click()
    await choose_password(page, f"{name.lower()}@example.org")
    return page


async def go_to(page: Page, part: str, view: str | None = None) -> None:
    """A page of the project, by its two rows of links."""
    await page.get_by_role("navigation", name="Project").get_by_role("link", name=part, exact=True).click()
    if view is not None:
        await page.get_by_role("navigation", name="Pages of this part").get_by_role("link", name=view).click()


async def choose(page: Page, chosen: Mapping[str, Mapping[str, object]]) -> None:
    """Settings of rounds, by their titles."""
    await go_to(page, "Settings", "Rounds")
    for group, values in chosen.items():
        await (
            page.get_by_role("navigation", name="Settings of rounds")
            .get_by_role("link", name=group, exact=True)
            .click()
        )
        await expect(page.locator("h1")).to_have_text(group)
        for title, value in values.items():
            field = page.get_by_label(title, exact=True)
            if not await field.is_visible():
                await page.get_by_text("more settings").click()
            await (field.select_option(value) if isinstance(value, str) else field.fill(str(value)))
        await page.get_by_role("button", name="Save", exact=True).last.click()
        await expect(page.get_by_text("Saved. The next round or run uses this.")).to_be_visible()


async def start_round(page: Page, number: int) -> None:
    """And wait until it has pairs for people."""
    await page.get_by_role("button", name="Start a round").click()
    await page.get_by_role("button", name="Start the round").click()
    await expect(page.locator("h1")).to_contain_text(f"Round {number} is labelling: 0 of", timeout=ROUND_MS)


async def judge(page: Page, pairs: int, otherwise: Container[int] = ()) -> None:
    """By keyboard: what stands first in the alphabet is better, but for some."""
    for number in range(pairs):
        _, first, second = await pair_of(page)
        is_first = (first < second) != (number in otherwise)
        await page.keyboard.press("2" if is_first else "6")
        await confirm(page)
    await sent(page)


async def pair_of(page: Page) -> tuple[str, str, str]:
    """Prompt and responses as they stand on the page."""
    panes = [page.get_by_role("article", name=f"Response {letter}").locator(".rendered") for letter in "AB"]
    prompt = page.get_by_role("region", name="Prompt").locator(".rendered")
    asked, first, second = [(await part.inner_text()).strip() for part in (prompt, *panes)]
    return asked, first, second


def csv_of(file: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])
    return file


@pytest_asyncio.fixture(loop_scope="session")
async def up(database_url: str) -> AsyncIterator[Up]:
    """The whole application, in which there is nothing yet."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-newcomer-"))
    settings = {"DATABASE_URL": database_url, "PLUMBLINE_PRIVATE_ADDRESSES": LOOPBACK}
    site = Up(folder / "home", free_port(), **settings)
    await asyncio.to_thread(site.wait_until_ready)
    yield site
    await asyncio.to_thread(site.end)
    assert processes_of(folder / "home") == {}
    shutil.rmtree(folder)


@pytest_asyncio.fixture(loop_scope="session")
async def newcomer(browser: Browser, up: Up) -> AsyncIterator[Newcomer]:
    """Opens a page of a browser that nobody has used; none of them may meet an error of a script."""
    contexts: list[BrowserContext] = []
    trouble: list[str] = []

    async def opened() -> Page:
        context = await browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert trouble == []
