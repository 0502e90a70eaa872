"""A simulated annotator reads what is on the page, presses what it means, and says so when no person could go on."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path

import httpx
import pytest

from app import starter
from app.simulation import crowd, judge
from app.simulation.annotator import AnswersByGold, SimulatedAnnotator, SimulationError, segment
from app.simulation.crowd import Budget, CrowdSettings, play
from app.simulation.judge import Judge, JudgeError
from app.simulation.page import SeenTask, read_task
from app.starter import gold
from training.records import CompletionRecord, PreferenceRecord, read_records, write_records

PANES = (
    '<article class="pane pane-a"><pre class="plain-text raw">1 &lt; 2\n</pre></article>'
    '<article class="pane"><pre class="raw">B</pre></article>'
)
TURNS = '<pre class="raw">First?</pre><p>x</p><pre class="plain-text raw">And &amp; then?</pre>'
FIELDS = '<input type="hidden" name="size" value="2"><input type="hidden" name="key" value="k">'
FORM = f'<form id="judgement" action="/a">{FIELDS}</form>'
OTHER_FORM = '<form id="skip" action="/s"><input type="hidden" name="no" value="n"></form>'


def test_a_task_is_read_by_its_elements_and_nothing_else_on_the_page() -> None:
    seen = read_task(f"<main>{TURNS}{PANES}{OTHER_FORM}{FORM}{OTHER_FORM}</main>")
    assert seen == SeenTask("And & then?", ("1 < 2\n", "B"), "/a", {"size": "2", "key": "k"})
    assert (seen.answer_type, seen.asks_harm) == ("seven", False)
    asked = read_task(f'{TURNS}{PANES}<input type="radio" name="safe_a" value="yes">{FORM}')
    assert asked is not None
    assert asked.asks_harm


@pytest.mark.parametrize("page", ["", TURNS + PANES, TURNS + FORM, PANES + FORM, "<form id='judgement'"])
def test_a_page_without_a_task_has_none(page: str) -> None:
    assert read_task(page) is None


@pytest.mark.parametrize(
    ("answer_type", "pressed", "for_tie"),
    [
        ("seven", [1, 2, 3, 4, 5, 6, 7], {1: 4, -1: 4}),
        ("six", [1, 2, 3, None, 4, 5, 6], {1: 3, -1: 4}),
        ("eight", [1, 2, 3, None, 6, 7, 8], {1: 4, -1: 5}),
    ],
)
def test_every_preference_has_its_segment_and_sides_mirror_each_other(
    answer_type: str, pressed: list[int | None], for_tie: dict[int, int]
) -> None:
    for preference, expected in zip((3, 2, 1, 0, -1, -2, -3), pressed, strict=True):
        for side in (1, -1):
            wanted = for_tie[side] if preference == 0 else expected
            assert segment(preference, answer_type, for_tie=side) == wanted
    last = {"seven": 7, "six": 6, "eight": 8}[answer_type]
    for preference in (1, 2, 3):
        there, back = (segment(sign * preference, answer_type, for_tie=1) for sign in (1, -1))
        assert there + back == last + 1


def test_whoever_the_rule_can_not_tell_apart_shares_a_rank() -> None:
    prompt, a, b = next(
        (prompt.text, one.text, other.text)
        for prompt, one, other in starter.comparisons(0, 120)
        if gold.preference(prompt.text, one.text, other.text) > 0
    )
    task = SeenTask(prompt, (b, a, b), "/", {"answer_type": "ranking"})
    said = AnswersByGold(noise=0, seed=0, annotator=0)(task)
    assert said == {"rank_a": "2", "rank_b": "1", "rank_c": "2"}
    best = SeenTask(prompt, (b, a, b), "/", {"answer_type": "best"})
    assert AnswersByGold(noise=0, seed=0, annotator=0)(best) == {"best": "b"}


def test_a_budget_is_spent_once_and_what_was_not_used_is_given_back() -> None:
    budget = Budget(2)
    assert [budget.take(), budget.take()] == [True, True]
    budget.give_back()
    assert [budget.take(), budget.take()] == [True, False]


Answering = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
async def at_site() -> AsyncIterator[Callable[[Answering], SimulatedAnnotator]]:
    """An annotator at a site that answers as it is told."""
    clients: list[httpx.AsyncClient] = []

    def annotator(answering: Answering) -> SimulatedAnnotator:
        clients.append(httpx.AsyncClient(base_url="http://site.test", transport=httpx.MockTransport(answering)))
        return SimulatedAnnotator(clients[-1], "p", lambda task: {"choice": "4"})

    yield annotator
    for client in clients:
        await client.aclose()


async def test_what_no_person_could_go_on_from_is_said_in_one_line(
    at_site: Callable[[Answering], SimulatedAnnotator],
) -> None:
    task = SeenTask("p", ("a", "b"), "/a", {"key": "k"})
    broken = at_site(lambda request: httpx.Response(500))
    for step, said in (
        (broken.sign_in("/link"), "no site answers at http://site.test"),
        (broken.next_task(), "the annotate page answered 500"),
        (broken.judge(task), "a submission answered 500"),
        (at_site(lambda request: httpx.Response(200)).sign_in("/link"), "signing in answered 200"),
    ):
        with pytest.raises(SimulationError, match=said):
            await step
    assert (len(broken.timings.next_ms), len(broken.timings.submit_ms)) == (1, 1)


async def test_an_answer_carries_the_forms_own_fields(at_site: Callable[[Answering], SimulatedAnnotator]) -> None:
    sent: list[bytes] = []

    def answering(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(303, headers={"Location": "/projects/p/annotate?done=1"})

    await at_site(answering).judge(SeenTask("p", ("a", "b"), "/a", {"key": "k", "size": "2"}))
    assert sent == [b"key=k&size=2&choice=4"]


async def test_a_crowd_gives_up_on_a_site_that_has_nothing_and_on_prompts_without_a_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crowd, "IDLE_SECONDS", 0.01)
    page = {"text": ""}

    def answering(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/link"):
            return httpx.Response(303 if request.method == "POST" else 200)
        return httpx.Response(200, text=page["text"])

    real, answers = httpx.AsyncClient, httpx.MockTransport(answering)
    monkeypatch.setattr(crowd.httpx, "AsyncClient", lambda **how: real(**how | {"transport": answers}))
    asked = CrowdSettings("http://site.test", "p", 5, noise=0, seed=0, patience_seconds=0.03)
    idle = await play(["/link/1", "/link/2"], asked)
    assert (idle.judgements, idle.errors, idle.submit_p50_ms) == (0, 0, None)
    assert idle.next_p50_ms is not None
    page["text"] = TURNS + PANES + FORM
    lost = await play(["/link/1"], asked)
    assert (lost.judgements, lost.errors) == (0, 1)
    assert lost.error_messages[0].startswith("the gold rule knows no such prompt")


def test_a_verdict_compares_sample_with_sample_and_writes_held_out_pairs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage program in place of training, which leaves what that leaves."""
    shown = {prompt.text: response.text for prompt, response in islice(starter.demonstrations(0, 1), 6)}
    unseen = [prompt.text for prompt in starter.prompts() if prompt.topic_held_out][:4]
    prompts = {str(number): text for number, text in enumerate((*shown, *unseen))}
    better = {key: shown.get(text, "Sorry, I will not help with that.") for key, text in prompts.items()}
    stages: list[str] = []

    def write(path: Path, *in_turn: dict[str, str], samples: int) -> None:
        rows = [
            CompletionRecord(key, sample, in_turn[sample % len(in_turn)][key], 5, True, 0, 1.0)
            for key in prompts
            for sample in range(samples)
        ]
        write_records(path, rows)

    class Done:
        returncode, stdout = 0, ""

    def run(command: list[str], **_: object) -> Done:
        stage, out = command[3], Path(command[-1])
        config = json.loads((out / "config.json").read_text())
        assert (command[0], config["seed"]) == (sys.executable, {"generate": 8, "evaluate": 9}[stage])
        stages.append(stage)
        hums = dict.fromkeys(prompts, "Hm.")
        samples = config["samples_per_prompt"]
        if stage == "generate":
            write(out / "completions.jsonl", better, hums, hums, hums, samples=samples)
            return Done()
        write(out / "completions.jsonl", better, samples=samples)
        write(out / "reference_completions.jsonl", hums, samples=samples)
        figures = {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "kl": 3.0}
        (out / "result.json").write_text(json.dumps(figures | {"length_ratio": 1.1, "eos_rate": 0.99}))
        return Done()

    monkeypatch.setattr(judge.subprocess, "run", run)
    appointed = Judge(tmp_path, prompts, seed=7)
    folders = {role: tmp_path / role for role in ("policy", "reference", "reward")}
    won = {key: gold.preference(text, better[key], "Hm.") for key, text in prompts.items()}
    for number in (1, 2):
        verdict = appointed.verdict(number, **folders)
        assert verdict.gold_win_rate.duels == len(prompts) * judge.SAMPLES_PER_PROMPT
        assert verdict.gold_win_rate.rate == sum((word > 0) + (word == 0) / 2 for word in won.values()) / len(won)
        assert verdict.unseen_topics.duels == 4 * judge.SAMPLES_PER_PROMPT
        assert (verdict.reward_accuracy, verdict.reward_accuracy_ci, verdict.kl) == (0.7, (0.6, 0.8), 3.0)
    assert stages == ["generate", "evaluate", "evaluate"]
    # Of the four samples of each prompt, the second pair is one text twice: a tie, which says nothing.
    pairs = read_records(tmp_path / "pairs.jsonl", PreferenceRecord)
    assert {pair.prompt_id: pair.preference for pair in pairs} == {
        key: float(word > 0) for key, word in won.items() if word
    }
    assert {pair.preference for pair in pairs} == {0.0, 1.0}


def test_a_judge_whose_stage_fails_says_what_it_printed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stdout = 2, "x" * 9_000 + "no such model"

    monkeypatch.setattr(judge.subprocess, "run", lambda *_, **__: Failed())
    with pytest.raises(JudgeError, match=r"^generate ended with 2: x{1987}no such model$"):
        Judge(tmp_path, {"1": "p"}, seed=0).held_out_pairs(tmp_path)
