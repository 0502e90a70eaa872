"""`plumbline simulate` and `plumbline loop`: annotators without people, for trials, load and proofs."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import SITE, app
from app.cli.database import in_transaction
from app.db.base import Json
from app.services.loop.asking.selection_settings import RuleName
from app.services.projects import projects
from app.settings import settings
from app.simulation.crowd import CrowdReport, CrowdSettings, play
from app.simulation.found import Found
from app.simulation.kinds import MIXED, Kind, People
from app.simulation.loop import LoopSettings, RoundRefusedError, RoundReport, Weigh, invite, report_json, run_loop

Noise = Annotated[float, typer.Option(min=0, max=1, help="Share of answers that go to the other side.")]
Kinds = Annotated[
    People,
    typer.Option("--people", help="noisy: all go by the gold rule; mixed: thirteen people of five kinds."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same answers to the same pairs.")]


@app.command(short_help="Let simulated annotators judge.", rich_help_panel=SITE)
def simulate(
    annotators: Annotated[int, typer.Option(min=1, help="How many judge at once.")] = 4,
    judgements: Annotated[int, typer.Option(min=1, help="How many judgements they give in all.")] = 100,
    noise: Noise = 0.1,
    seed: Seed = 0,
    people: Kinds = "noisy",
    project: Annotated[str, typer.Option(help="A project with the starter's prompts: only those have a gold rule.")] = (
        "starter"
    ),
) -> None:
    """Let simulated annotators judge through the running site; prints one JSON object."""

    async def invite_all(db: AsyncSession) -> list[str]:
        found = await projects.named(db, project)
        count = len(MIXED) if people == "mixed" else annotators
        return [await invite(db, found, f"Simulated {number}") for number in range(count)]

    links = in_transaction(invite_all)
    crowd = CrowdSettings(settings().site_url, project, judgements, noise, seed, _kinds(people))
    report = asyncio.run(play(links, crowd))
    print(json.dumps(_without_messages(report)))
    if report.judgements < judgements:
        raise typer.Exit(1)


@app.command(short_help="Turn the whole loop on a site of its own, and measure.", rich_help_panel=SITE)
def loop(
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds to turn.")] = 2,
    labels: Annotated[int, typer.Option(min=1, help="New judgements in each round.")] = 400,
    seed: Seed = 0,
    noise: Noise = 0.1,
    people: Kinds = "noisy",
    votes: Annotated[int, typer.Option(min=1, max=len(MIXED), help="People who judge each shared pair.")] = 1,
    shared: Annotated[float, typer.Option(min=0, max=1, help="Share of the pairs that several people judge.")] = 1.0,
    weigh: Annotated[
        Weigh, typer.Option(help="Whether people are believed as far as they can be relied on: people.weigh.")
    ] = "auto",
    rule: Annotated[
        RuleName, typer.Option(help="What is asked: selection.rule. uniform: pairs drawn at random.")
    ] = LoopSettings.rule,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
    home: Annotated[Path | None, typer.Option(help="A folder to keep the site in; unset: a temporary one.")] = None,
) -> None:
    """Turn the whole loop on a fresh site of its own, judged by simulated people, and measure what came of it."""
    with tempfile.TemporaryDirectory(prefix="plumbline-loop-") as temporary:
        count = len(MIXED) if people == "mixed" else max(2, votes)
        where = LoopSettings(
            rounds, labels, seed, noise, home or Path(temporary), count, _kinds(people), votes, shared, weigh, rule
        )
        try:
            reports = run_loop(where, lambda line: print(line, flush=True))
        except RoundRefusedError as refusal:
            _print_people(refusal.people)
            _write(json_file, {"seed": seed, "refused": str(refusal), "people": list(map(asdict, refusal.people))})
            raise
    _print_table(reports)
    _print_people(reports[-1].people)
    _write(json_file, report_json(seed, reports))


def _write(file: Path | None, told: Json) -> None:
    if file is not None:
        file.write_text(json.dumps(told, indent=1) + "\n")


def _kinds(people: People) -> tuple[Kind, ...]:
    return MIXED if people == "mixed" else ("noisy",)


def _without_messages(report: CrowdReport) -> dict[str, object]:
    figures = asdict(report)
    for message in figures.pop("error_messages"):
        print(message)
    return figures


def _print_table(reports: list[RoundReport]) -> None:
    widths = (7, 8, 7, 23, 23, 23, 19, 7, 8, 7, 8, 0)
    heads = ("round", "labels", "pairs", "reward accuracy", "gold win rate", "on unseen topics", "by length tercile")
    _print_row((*heads, "KL", "length", "EOS", "weighs", "promoted"), widths)
    for report in reports:
        cells = (
            str(report.round),
            str(report.labels),
            str(report.pairs),
            _with_interval(report.reward_accuracy, report.reward_accuracy_ci),
            _with_interval(report.gold_win_rate, report.gold_win_rate_ci),
            _with_interval(report.win_rate_on_unseen_topics, report.win_rate_on_unseen_topics_ci),
            " ".join(f"{share:.2f}" for share in report.win_rate_by_length_tercile),
            f"{report.kl:.2f}",
            f"× {report.length_ratio:.2f}",
            f"{report.eos_rate:.3f}",
            "yes" if report.weighs else "no",
            "yes" if report.promoted else f"no: {report.reason or 'not yet'}",
        )
        _print_row(cells, widths)


def _print_people(people: Sequence[Found]) -> None:
    """What was found of each person after the last round, beside what they are."""
    widths = (15, 13, 7, 14, 23, 8, 12, 0)
    print()
    _print_row(("person", "kind", "pairs", "verdict", "reliability found", "truth", "as gold", "side A"), widths)
    for person in people:
        cells = (
            person.name,
            person.kind,
            str(person.votes),
            person.verdict,
            _with_interval(person.reliability, (person.low, person.high)),
            _or_dash(person.truth),
            _or_dash(person.by_gold),
            f"{person.side:.2f}",
        )
        _print_row(cells, widths)


def _or_dash(share: float | None) -> str:
    return "–" if share is None else f"{share:.2f}"


def _print_row(cells: tuple[str, ...], widths: tuple[int, ...]) -> None:
    print("".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)))


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
