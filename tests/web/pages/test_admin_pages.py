"""What the admin pages say: the sentence at the top, what to do first, what a form leads to."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import ApiToken, Metric, ModelVersion, Round, Run, Task
from app.services.data.exports.pairs import Pair
from app.services.data.exports.schema import Schema
from app.services.loop.models import models
from app.services.projects import projects
from app.services.selection.batch import NOTHING_SAID
from tests.browser.seed import Seeded
from tests.browser.seed.hacking import write_report
from tests.browser.seed.versions import manifest_sha256
from tests.cutting import cut_what_waits
from tests.factories import make_task, principal_of_api_token
from tests.more_schemas import lengths
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "lengths", "seeded", "seeded_template", "seeded_url", "site"]

PROJECT = "/projects/everyday-help"
OVER = {"lease_expires_at": None, "finished_at": func.now()}


async def test_the_project_says_where_its_round_stands(doors: dict[str, Door]) -> None:
    html = await read(doors["owner"], PROJECT)
    assert re.fullmatch(r"Round 3 is labelling: 7 of 400, about \d+ (minutes|hours?) left\.", sentence(html))
    assert "Round 3 active Round 2 refused by a gate" in words(html)
    assert "Made from policy 1, guided by reward model 1, held near policy 1." in words(html)


async def test_without_a_recent_pace_there_is_no_estimate(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(label_target=3))
    await db.commit()
    assert sentence(await read(doors["owner"], PROJECT)) == "Round 3 is labelling: 7 of 3."


async def test_a_round_whose_run_failed_stands_still_and_offers_to_retry(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(step="reward"))
    stuck = {"round_id": seeded.label_round.id, "round_step": "reward"}
    await db.execute(update(Run).where(Run.id == seeded.failed.id).values(stuck))
    await db.commit()
    html = await read(doors["owner"], PROJECT)
    assert sentence(html) == "Round 3 stands still: Reward model failed."
    assert f'action="{PROJECT}/runs/{seeded.failed.id}/retry"' in html
    answer = await doors["owner"].send("POST", f"{PROJECT}/runs/{seeded.failed.id}/retry")
    assert answer.status_code == 303
    assert "training the reward model, waiting for a worker" in sentence(await read(doors["owner"], PROJECT))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"state": "queued", "lease_expires_at": None}, "PPO waits for a worker."),
        ({"state": "running", "step": 0, "total_steps": 0}, "PPO is running"),
        ({"state": "running", "cancel_requested_at": func.now()}, "PPO is writing its checkpoint and stops then."),
        ({"state": "succeeded", **OVER, "result": {}}, "PPO is done."),
        ({"state": "succeeded", **OVER, "result": {"kl": 3.2, "note": None}}, "PPO is done: 3.2 nats KL to the ref"),
        ({"state": "failed", **OVER, "error": "Out of memory."}, "PPO failed."),
        ({"state": "cancelled", **OVER}, "PPO was cancelled."),
    ],
)
async def test_a_run_says_what_it_does_in_every_state(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, state: dict[str, Any], said: str
) -> None:
    await db.execute(update(Run).where(Run.id == seeded.ppo.id).values(state))
    await db.commit()
    assert said in sentence(await read(doors["owner"], f"{PROJECT}/runs/{seeded.ppo.id}"))
    assert said in sentence(await read(doors["owner"], f"{PROJECT}/runs/{seeded.ppo.id}/state"))
    for path in (PROJECT, f"{PROJECT}/runs", f"{PROJECT}/models"):
        await read(doors["owner"], path)


async def test_a_project_with_its_first_policy_only_can_be_looked_at(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    bare = await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await models.register(
        db,
        project_id=bare.id,
        kind="policy",
        run_id=None,
        folder="models/policy-1",
        manifest_sha256=manifest_sha256("policy", 1),
        figures={},
    )
    await db.commit()
    assert "No policy is in use." in sentence(await read(doors["owner"], "/projects/bare/models"))
    promoted = await doors["owner"].send("POST", "/projects/bare/models/policy/1/promote")
    assert promoted.status_code == 303
    assert sentence(await read(doors["owner"], "/projects/bare/models")) == "Policy 1 is in use."
    assert sentence(await read(doors["owner"], "/projects/bare")) == "No round is running."


async def test_a_reward_model_says_where_it_agrees_and_how_sure_it_may_be(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    result = {
        "accuracy_longer_preferred": 0.81,
        "accuracy_longer_preferred_low": 0.7,
        "accuracy_longer_preferred_high": 0.9,
        "accuracy_largest_length_gap": 0.64,
        "accuracy_largest_length_gap_low": 0.5,
        "accuracy_largest_length_gap_high": 0.75,
        "length_gap_quartiles": [3, 8, 15],
        "subset_pairs": {"longer_preferred": 40},
        "calibration_error": 0.12,
        "calibration_temperature": 2.5,
    }
    measured = {"stage": "reward", "state": "succeeded", **OVER, "result": result}
    await db.execute(update(Run).where(Run.id == seeded.ppo.id).values(measured))
    await db.commit()
    said = words(await read(doors["owner"], f"{PROJECT}/runs/{seeded.ppo.id}"))
    assert "Agreement where the longer response was preferred 81% 70–90%" in said
    assert "Agreement on the quarter of pairs farthest apart in length 64% 50–75%" in said
    assert "Calibration error 12%" in said
    assert "Calibration temperature 2.5" in said
    assert "Subset pairs" not in said


async def test_a_run_tells_what_its_model_decided(doors: dict[str, Door], db: AsyncSession, seeded: Seeded) -> None:
    page = f"{PROJECT}/runs/{seeded.ppo.id}"
    assert "What the model decided" not in words(await read(doors["owner"], page))
    decided = {"learning_rate": 0.00025, "micro_batch_tokens": 256}
    measured = {"state": "succeeded", **OVER, "result": {"kl": 3.2, "chosen_by_model": decided}}
    await db.execute(update(Run).where(Run.id == seeded.ppo.id).values(measured))
    await db.commit()
    said = words(await read(doors["owner"], page))
    assert "What the model decided Learning rate 0.00025 Micro batch tokens 256" in said


async def test_a_held_out_loss_says_what_it_is_a_mean_over(doors: dict[str, Door]) -> None:
    said = words(await read(doors["owner"], f"{PROJECT}/models"))
    assert "Held-out loss per token 1.38 nats" in said, "of a policy"
    assert "Held-out loss per pair 0.548 nats" in said, "of a reward model"
    assert "Held-out loss per token 0.548 nats" not in said


async def test_a_reward_model_that_other_tools_read_otherwise_says_so(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    said = "Another tool that opens this model gets the mean of its heads"
    assert said not in words(await read(doors["owner"], f"{PROJECT}/models"))
    (newest, *_) = await db.scalars(
        select(ModelVersion).where(ModelVersion.kind == "reward").order_by(ModelVersion.id.desc())
    )
    newest.figures = {**newest.figures, "other_tools_read": "mean"}
    await db.commit()
    assert words(await read(doors["owner"], f"{PROJECT}/models")).count(said) == 1


async def test_a_run_of_every_stage_has_a_page(doors: dict[str, Door], db: AsyncSession) -> None:
    runs = list(await db.scalars(select(Run).order_by(Run.id)))
    assert {run.stage for run in runs} >= {"sft", "reward", "ppo", "generate", "evaluate", "select", "snapshot", "gate"}
    for run in runs:
        assert sentence(await read(doors["reviewer"], f"{PROJECT}/runs/{run.id}")), run.stage


async def test_dpo_is_started_by_its_button_and_shows_its_curves(doors: dict[str, Door], db: AsyncSession) -> None:
    assert 'value="dpo"' in await read(doors["owner"], PROJECT)
    started = await doors["owner"].send("POST", f"{PROJECT}/runs", {"stage": "dpo"})
    assert started.status_code == 303
    page = started.headers["location"]
    assert sentence(await read(doors["owner"], page)).startswith("DPO ")
    for step in range(1, 4):
        figures = {"loss": 0.69 / step, "margin": 0.1 * step, "chosen_reward": 0.1, "rejected_reward": 0.0}
        db.add(Metric(run_id=int(page.rsplit("/", 1)[-1]), phase="dpo", step=step, figures=figures))
    await db.commit()
    assert "Implicit reward of preferred responses" in words(await read(doors["owner"], page))


async def test_a_run_that_ended_before_it_measured_anything_shows_no_empty_curves(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    page = f"{PROJECT}/runs/{seeded.failed.id}"
    assert "data-figure" not in await read(doors["owner"], page)
    await db.execute(update(Run).where(Run.id == seeded.failed.id).values(state="queued", finished_at=None))
    await db.commit()
    assert "data-figure" in await read(doors["owner"], page)


@pytest.mark.parametrize("status", ["stopped", "failed", "cancelled"])
async def test_a_round_that_ended_early_says_why(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded, status: str
) -> None:
    ended = {"status": status, "reason": "Because.", "finished_at": func.now()}
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(ended))
    await db.commit()
    html = await read(doors["owner"], f"{PROJECT}/rounds/3")
    assert sentence(html).startswith("Round 3")
    assert ("Because." in html) == (status != "cancelled")


async def test_after_a_refusal_the_project_says_which_gate_it_was_and_leads_on(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    refused = {"status": "stopped", "step": "policy_gate", "reason": "Because.", "finished_at": func.now()}
    await db.execute(update(Round).where(Round.id == seeded.label_round.id).values(refused))
    ended = {"state": "cancelled", "finished_at": func.now(), "lease_owner": None, "lease_expires_at": None}
    await db.execute(update(Run).where(Run.state.in_(("queued", "running"))).values(ended))
    await db.commit()
    html = await read(doors["owner"], PROJECT)
    assert "Round 3 was refused at its policy gate. Because." in words(html)
    assert f'<a href="{PROJECT}/rounds/3">What the gate saw, and how to go on all the same</a>' in html


async def test_a_round_says_how_its_pairs_were_chosen_and_why_not_as_was_wanted(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    reasons: list[dict[str, object]] = [
        {"rule": "uniform", "slice": "random", "propensity": 0.1},
        {"rule": "balanced", "slice": "chosen", "why": NOTHING_SAID},
        {"rule": "thompson_d_optimal", "slice": "chosen"},
        {"rule": "thompson_d_optimal", "slice": "chosen"},
        {"rule": "duel", "slice": "random", "propensity": 0.1},  # which asks about a policy, not for the next one
    ]
    await db.execute(update(Task).where(Task.round_id == seeded.label_round.id).values(round_id=None))
    for reason in reasons:
        task = await make_task(db, seeded.project)
        task.round_id, task.selection = seeded.label_round.id, reason
    await db.commit()
    said = words(await read(doors["owner"], f"{PROJECT}/rounds/3"))
    assert "1 pair drawn at random, to measure by 2 pairs: What teaches most 1 pair: At random, topics alike." in said
    assert said.count("drawn at random") == 1
    assert NOTHING_SAID in said
    listed = words(await read(doors["owner"], f"{PROJECT}/browse/tasks"))
    assert "What teaches most" in listed
    assert "thompson_d_optimal" not in listed


async def test_a_gate_shows_each_rule_with_its_figure_and_bound(doors: dict[str, Door]) -> None:
    html = await read(doors["owner"], f"{PROJECT}/rounds/2")
    assert sentence(html) == "Round 2 was refused at its policy gate."
    rows = [words(row) for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]
    assert any(re.search(r"at most 1\.5 is allowed\. 1\.84 1\.5 refused", row) for row in rows)
    assert any(re.search(r"KL to the reference is 5\.0 nats.* 5\.02 12 passed", row) for row in rows)


async def test_a_bare_project_says_what_to_do_first(doors: dict[str, Door], db: AsyncSession, seeded: Seeded) -> None:
    await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await db.commit()
    door = doors["owner"]
    assert "There is no policy yet." in sentence(await read(door, "/projects/bare"))
    assert "A policy learns from demonstrations first, or is a model that you choose" in await read(
        door, "/projects/bare"
    )
    assert "Nothing has run yet." in sentence(await read(door, "/projects/bare/runs"))
    assert "There is no model yet." in sentence(await read(door, "/projects/bare/models"))
    assert "There are no judgements to keep yet." in sentence(await read(door, "/projects/bare/datasets"))
    assert "Judge some pairs first." in await read(door, "/projects/bare/datasets")
    assert "One person is in this project." in sentence(await read(door, "/projects/bare/people"))


async def test_a_project_that_has_only_tasks_leads_to_them(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    bare = await projects.create(db, slug="bare", name="Bare", owner_id=seeded.owner.id)
    await make_task(db, bare)
    await db.commit()
    for page in ("", "/state", "/runs", "/models", "/datasets", "/people"):
        await read(doors["owner"], f"/projects/bare{page}")
    assert "Bare" in await read(doors["owner"], "/projects")
    html = await read(doors["owner"], "/projects/bare")
    assert sentence(html) == "One task waits to be judged. There is no policy yet."
    assert '<a class="button primary" href="/projects/bare/annotate">Judge pairs</a>' in html


async def test_the_list_of_projects_says_what_each_is_doing(doors: dict[str, Door]) -> None:
    html = await read(doors["owner"], "/projects")
    assert sentence(html) == "One round is under way."
    assert "Round 3 is labelling: 7 of 400." in words(html)
    assert "Open to you for judging." in await read(doors["annotator"], "/projects")


async def test_a_page_with_a_token_that_is_loaded_again_makes_no_second_token(doors: dict[str, Door]) -> None:
    door = doors["annotator"]
    (key,) = re.findall(r'name="key" value="([^"]+)"', await read(door, "/tokens"))
    form = {"name": "reloaded", "days": "30", "scopes": ["read"], "key": key}
    made = [(await door.send("POST", "/tokens", form)).text for _ in range(2)]
    assert len({token for page in made for token in re.findall(r"plumb_\w{43}", page)}) == 1
    assert (await read(door, "/tokens")).count(">reloaded<") == 1
    other = (await door.send("POST", "/tokens", form | {"name": "another"})).text
    assert set(re.findall(r"plumb_\w{43}", other)) - set(re.findall(r"plumb_\w{43}", made[0]))


async def test_a_token_is_shown_once_and_revoked_for_good(doors: dict[str, Door], db: AsyncSession) -> None:
    door = doors["annotator"]
    made = await door.send("POST", "/tokens", {"name": "notebook", "days": "30", "scopes": ["read"]})
    (token,) = set(re.findall(r"plumb_\w{43}", made.text))
    assert made.headers["cache-control"] == "no-store"
    assert token not in await read(door, "/tokens")
    assert await principal_of_api_token(db, token) is not None
    token_id = await db.scalar(select(func.max(ApiToken.id)))
    await db.commit()
    assert (await doors["owner"].send("POST", f"/tokens/{token_id}/revoke")).status_code == 404
    assert (await door.send("POST", f"/tokens/{token_id}/revoke")).status_code == 303
    assert await principal_of_api_token(db, token) is None


async def test_an_owner_does_not_lock_the_project_by_mistake(doors: dict[str, Door], seeded: Seeded) -> None:
    url = f"{PROJECT}/people/{seeded.owner.id}/role"
    assert (await doors["owner"].send("POST", url, {"role": "annotator"})).status_code == 409
    assert (await doors["owner"].send("GET", PROJECT)).status_code == 200


async def test_two_people_who_promote_at_once_do_not_undo_each_other_unawares(
    doors: dict[str, Door], db: AsyncSession, seeded: Seeded
) -> None:
    seen = {"instead_of": str(seeded.policies[1].id), "reason": "I read its samples."}
    assert (await doors["owner"].send("POST", f"{PROJECT}/models/policy/3/promote", seen)).status_code == 303
    late = await doors["owner"].send("POST", f"{PROJECT}/models/policy/1/promote", seen)
    assert late.status_code == 409
    assert "Somebody changed the version in use in the meantime." in late.text
    in_use = select(ModelVersion.number).where(ModelVersion.state == "promoted", ModelVersion.kind == "policy")
    assert await db.scalar(in_use) == 3


async def test_a_version_that_is_cut_can_be_downloaded(
    doors: dict[str, Door], sessions: SessionFactory, tmp_path: Path
) -> None:
    cut = await doors["owner"].send("POST", f"{PROJECT}/datasets")
    assert cut.headers["location"] == f"{PROJECT}/datasets"
    html = await read(doors["owner"], f"{PROJECT}/datasets")
    assert "A version is being cut." in html
    assert "Cut a version now" not in html
    assert "It waits for a worker." in await read(doors["reviewer"], f"{PROJECT}/datasets/state")
    await cut_what_waits(sessions, tmp_path / "home")
    moved = await doors["reviewer"].send("GET", f"{PROJECT}/datasets/state")
    assert moved.headers["HX-Refresh"] == "true"
    html = await read(doors["owner"], f"{PROJECT}/datasets")
    assert "A version is being cut." not in html
    assert sentence(html) == "Preferences 3 holds 7 judgements."
    for form in ("jsonl", "parquet"):
        file = await doors["reviewer"].send("GET", f"{PROJECT}/datasets/3/export?format={form}")
        assert file.status_code == 200
        assert file.headers["content-disposition"].endswith(f'everyday-help-preferences-3.{form}"')


async def test_demonstrations_are_cut_without_being_trained_on(
    doors: dict[str, Door], sessions: SessionFactory, tmp_path: Path
) -> None:
    offered = await read(doors["owner"], f"{PROJECT}/datasets")
    assert 'name="kind" value="demonstrations"' in offered
    assert 'name="kind" value="demonstrations"' not in await read(doors["reviewer"], f"{PROJECT}/datasets")
    before = len(re.findall(r'<tr id="demonstrations-', offered))
    await doors["owner"].send("POST", f"{PROJECT}/datasets", {"kind": "demonstrations"})
    await cut_what_waits(sessions, tmp_path / "home")
    html = await read(doors["owner"], f"{PROJECT}/datasets")
    versions = re.findall(r'<tr id="demonstrations-(\d+)', html)
    assert len(versions) == before + 1
    file = await doors["reviewer"].send(
        "GET", f"{PROJECT}/datasets/{versions[0]}/export?kind=demonstrations&format=jsonl&schema=messages"
    )
    assert file.text.startswith('{"messages": [{"role": "user"')


async def test_the_page_offers_every_schema_of_a_kind_of_dataset(
    doors: dict[str, Door], lengths: Schema[Pair], sessions: SessionFactory, tmp_path: Path
) -> None:
    await doors["owner"].send("POST", f"{PROJECT}/datasets")
    await cut_what_waits(sessions, tmp_path / "home")
    html = await read(doors["owner"], f"{PROJECT}/datasets")
    file = f"{PROJECT}/datasets/3"
    assert re.findall(rf'href="{file}/([^"]+)" download>([^<]+)<', unescape(html)) == [
        ("export?format=jsonl", "JSONL"),
        ("export?format=parquet", "Parquet"),
        ("export?format=csv", "CSV"),
        ("export?format=jsonl&schema=raw", "raw rows"),
        ("judgements", "judgements"),
    ]
    form = await read(doors["reviewer"], f"{file}/exports")
    assert f'href="{file}/exports"' in html
    assert f'<option value="lengths">{lengths.title}</option>' in form
    for address, _ in re.findall(rf'href="({file}/[^"]+)" download>([^<]+)<', unescape(html)):
        assert (await doors["reviewer"].send("GET", address)).status_code == 200
    demonstrations = re.findall(rf'href="{PROJECT}/datasets/1/([^"]+kind[^"]+)" download>([^<]+)<', unescape(html))
    assert demonstrations == [
        ("export?format=jsonl&kind=demonstrations", "JSONL"),
        ("export?format=parquet&kind=demonstrations", "Parquet"),
        ("export?format=csv&kind=demonstrations", "CSV"),
    ]


async def test_the_log_is_there_on_demand(doors: dict[str, Door], seeded: Seeded) -> None:
    folder = doors["owner"].site.state.settings.home / "runs" / str(seeded.ppo.id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("step 34 <b>done</b>\n")
    answer = await doors["owner"].send("GET", f"{PROJECT}/runs/{seeded.ppo.id}/log")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "step 34 <b>done</b>\n"


async def read(door: Door, path: str) -> str:
    answer = await door.send("GET", path)
    assert answer.status_code == 200, (path, answer.status_code)
    return answer.text


def sentence(html: str) -> str:
    """The heading at the top of the page, as a reader sees it."""
    found = re.search(r"<h1>(.*?)</h1>", html, re.DOTALL)
    assert found is not None
    return words(found[1])


def words(html: str) -> str:
    text = re.sub(r"<[^>]+>", "\0", html)
    for entity, character in (("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    text = " ".join(text.replace("\0", " ").split())
    return re.sub(r" ([.,:;)])", r"\1", text).replace("( ", "(")


async def test_a_run_tells_of_signs_of_reward_hacking(doors: dict[str, Door], seeded: Seeded) -> None:
    owner, address = doors["owner"], f"{PROJECT}/runs/{seeded.ppo.id}"
    assert "data-chart" not in await read(owner, address)
    path = write_report(owner.site.state.settings.home, seeded.ppo)
    html = await read(owner, address)
    said = words(html)
    assert "2 detectors raised an alarm." in said
    assert "The reward rose much more than the held-out reward model’s 20–30 1.8 1" in said
    assert "A style has spread: lists 25–30 4.5 4" in said
    assert "Highest above the held-out reward model: one response to judge by eye" in said
    curve = json.loads(unescape(re.findall(r'data-chart="([^"]+)"', html)[0]))
    assert curve["x"] == [0.5 * number for number in range(7)]
    assert len(curve["lines"]) == 2
    write_report(owner.site.state.settings.home, seeded.ppo, alarms=False)
    assert "No detector raised an alarm in 7 evaluations." in words(await read(owner, address))
    path.write_text("{")
    assert "data-chart" not in await read(owner, address)
