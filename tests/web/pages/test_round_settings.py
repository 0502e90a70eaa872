"""The pages on which an owner chooses what rounds, gates and stages do, and the same over REST and command line."""

import re
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.loop.runs import starting
from app.services.loop.settings import settable
from app.services.loop.settings.settable import group_named
from app.web import locales
from tests.browser.seed import Seeded
from tests.command_line import runner
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

HERE = "/projects/everyday-help/round-settings"


def form_of(html: str) -> dict[str, list[str]]:
    """All that a browser would send: what is typed, chosen and ticked."""
    (form,) = re.findall(r'<form method="post" action="[^"]*/round-settings/.*?</form>', html, flags=re.DOTALL)
    sent: dict[str, list[str]] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") != "checkbox" or " checked" in tag:
            sent.setdefault(attributes["name"], []).append(attributes.get("value", ""))
    for name, options in re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, flags=re.DOTALL):
        sent[name] = re.findall(r"<option selected>([^<]*)</option>", options)
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, flags=re.DOTALL):
        sent[name] = [text]
    return sent


async def settings_now(db: AsyncSession, seeded: Seeded) -> dict[str, object]:
    return dict((await db.get_one(Project, seeded.project.id, populate_existing=True)).round_settings)


@pytest.mark.parametrize("group", [group.name for group in settable.groups()])
async def test_a_form_that_is_sent_as_it_is_changes_nothing(
    group: str, doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    before = await settings_now(db, seeded)
    page = await doors["owner"].send("GET", f"{HERE}/{group}")
    sent = form_of(page.text)
    assert sent.keys() <= {"seen", *(setting.name for setting in group_named(group).settings)}
    assert (await doors["owner"].send("POST", f"{HERE}/{group}", sent)).status_code == 303
    assert await settings_now(db, seeded) == before


async def test_a_change_is_marked_with_its_default_used_by_the_next_run_and_taken_back_by_one_button(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    sent = form_of((await doors["owner"].send("GET", f"{HERE}/generate")).text)
    before = await settings_now(db, seeded)
    answer = await doors["owner"].send("POST", f"{HERE}/generate", sent | {"temperature": ["0.9"]})
    assert answer.status_code == 303
    page = (await doors["owner"].send("GET", answer.headers["location"])).text
    assert 'role="status"' in page
    assert "Changed; by default 0.7." in page
    project = await db.get_one(Project, seeded.project.id, populate_existing=True)
    run = await starting.start(db, None, project, "generate")
    assert run.settings["config"]["temperature"] == 0.9
    await db.rollback()
    await doors["owner"].send("POST", f"{HERE}/generate", sent | {"reset": "temperature"})
    assert await settings_now(db, seeded) == before


async def test_what_a_stage_would_refuse_is_said_in_its_own_words_and_stays_typed(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    before = await settings_now(db, seeded)
    sent = form_of((await doors["owner"].send("GET", f"{HERE}/dpo")).text)
    answer = await doors["owner"].send("POST", f"{HERE}/dpo", sent | {"loss": ["robust"], "beta": ["0.25"]})
    assert answer.status_code == 422
    assert "label_noise: must be above 0 for the robust loss" in answer.text
    again = form_of(answer.text)
    assert (again["loss"], again["beta"]) == (["robust"], ["0.25"])
    assert await settings_now(db, seeded) == before
    sent |= {"loss": ["robust"], "label_noise": ["0.1"]}
    assert (await doors["owner"].send("POST", f"{HERE}/dpo", sent)).status_code == 303


async def test_several_boxes_and_weights_by_name_are_read_from_the_form(
    doors: dict[str, Door], seeded: Seeded, db: AsyncSession
) -> None:
    sent = form_of((await doors["owner"].send("GET", f"{HERE}/reward")).text)
    sent |= {"learn_criteria": ["true"], "criteria_weights": ["helpful = 1\nshort = 0.5"]}
    assert (await doors["owner"].send("POST", f"{HERE}/reward", sent)).status_code == 303
    sent = form_of((await doors["owner"].send("GET", f"{HERE}/ppo")).text)
    (boxes,) = (setting for setting in group_named("ppo").settings if setting.kind == "choices")
    assert (await doors["owner"].send("POST", f"{HERE}/ppo", sent | {boxes.name: ["kl", "style"]})).status_code == 303
    now = await settings_now(db, seeded)
    assert now["reward"] == {"learn_criteria": True, "criteria_weights": {"helpful": 1.0, "short": 0.5}}
    assert isinstance(now["ppo"], dict)
    assert now["ppo"][boxes.name] == ["style", "kl"] or now["ppo"][boxes.name] == ["kl", "style"]


LANGUAGES = [code for code in locales.available() if code != locales.SOURCE]


def read_aloud(html: str) -> str:
    """What somebody reads, without the marks of code."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_each_setting_means_is_said_in_the_readers_language(
    language: str, doors: dict[str, Door], seeded: Seeded
) -> None:
    locales.use(language)
    for group in settable.groups():
        page = await doors["owner"].send("GET", f"{HERE}/{group.name}", headers={"Accept-Language": language})
        said = read_aloud(page.text)
        for meaning in {setting.meaning for setting in group.settings if setting.meaning}:
            assert " ".join(locales.gettext(meaning).replace("`", "").split()) in said, (group.name, meaning)
            assert meaning.replace("`", "") not in said, (group.name, meaning)
    locales.use(locales.SOURCE)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "label_noise: must be above 0 for the robust loss, which is the sigmoid loss without it."),
        ("de", "label_noise: muss für den Verlust robust über 0 liegen; ohne das ist er der Verlust sigmoid."),
        ("zh", "label_noise：使用 robust 损失时必须大于 0，否则它就是 sigmoid 损失。"),
    ],
)
async def test_why_a_stage_refuses_settings_is_said_in_the_readers_language(
    language: str, said: str, doors: dict[str, Door], seeded: Seeded
) -> None:
    asked = {"Accept-Language": language}
    sent = form_of((await doors["owner"].send("GET", f"{HERE}/dpo")).text) | {"loss": ["robust"]}
    answer = await doors["owner"].send("POST", f"{HERE}/dpo", sent, headers=asked)
    assert answer.status_code == 422
    assert said in read_aloud(answer.text)


async def test_a_detector_is_ticked_by_what_it_finds(doors: dict[str, Door], seeded: Seeded) -> None:
    page = await doors["owner"].send("GET", f"{HERE}/ppo", headers={"Accept-Language": "de"})
    assert "Wortpaare" in page.text
    assert re.search(
        r'value="repetition" checked> <code>repetition</code> <small[^>]*>Antworten wiederholen', page.text
    )


def test_the_command_line_shows_sets_and_resets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> None:
    run = runner(monkeypatch, capsys)

    def plumbline(*arguments: str) -> str:
        done = run(
            "settings", *arguments, "-p", "everyday-help", DATABASE_URL=database_url, PLUMBLINE_HOME=str(tmp_path)
        )
        return done.out if done.code == 0 else done.refusal

    assert plumbline("set", "ppo", "iterations=7", "alarms.kl=3") == "Set in ppo: iterations=7, alarms.kl=3.\n"
    assert "ppo\titerations\t7\tby default 22" in plumbline("show")
    assert plumbline("set", "ppo", "iterations=0") == "iterations: must be at least 1, not 0."
    assert plumbline("set", "ppo", "iterations") == "Write NAME=VALUE, not 'iterations'."
    plumbline("reset", "ppo", "iterations")
    assert "ppo\titerations\t22\t" in plumbline("show", "ppo")
    assert plumbline("reset", "ppo") == "Reset in ppo: everything.\n"
    assert "alarms.kl" not in plumbline("show")
