"""What is found out about a reward model: scores of the pairs that people judged, and figures of its examination."""

import math

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judgement, ModelVersion, Project
from app.services.loop.comparisons import scored_pairs
from app.services.reports import reports
from app.services.reports.agreement import AGREEMENT
from app.services.reports.reward_models import REWARD_MODELS
from training.records import ScoredPairRecord

PROBES = {"padding": 0.97, "markup": 1.0, "flattery": 0.99, "repetition": 0.62, "refusal": 1.0, "as_an_ai": 1.0}


async def examine(db: AsyncSession, project: Project, number: int = 2) -> ModelVersion:
    """The newest reward model of a seeded project, with its report as a worker would have written it. Committed."""
    found = (ModelVersion.project_id == project.id, ModelVersion.kind == "reward", ModelVersion.number == number)
    version = (await db.scalars(select(ModelVersion).where(*found))).one()
    said = list(await db.scalars(select(Judgement).where(Judgement.project_id == project.id).order_by(Judgement.id)))
    await scored_pairs.store(
        db,
        version,
        [
            ScoredPairRecord(f"human:{judgement.id}", 0, ahead, ahead - 0.4)
            for judgement in said
            for ahead in [1.6 * math.sin(judgement.id)]
        ],
    )
    version.figures = {**version.figures, **examined()}
    for report in (AGREEMENT, REWARD_MODELS):
        await reports.current(db, project, report)
        await db.commit()
        await reports.write(db, project.id, report.name)
        await db.commit()
    return version


def examined() -> Json:
    """Figures as a training process leaves them."""
    sizes = [2**power for power in range(7)]
    kl = [math.log(size) - (size - 1) / size for size in sizes]
    curve = [
        {
            "n": size,
            "kl": nats,
            "score": 1.1 * nats**0.5,
            "reading": nats**0.5 * (1.1 - 0.35 * nats**0.5),
            "reading_low": nats**0.5 * (0.9 - 0.35 * nats**0.5),
            "reading_high": nats**0.5 * (1.3 - 0.35 * nats**0.5),
        }
        for size, nats in zip(sizes, kl, strict=True)
    ]
    return {
        "probes": PROBES,
        "probed_responses": 96,
        "probes_right": sum(PROBES.values()) / len(PROBES),
        "probes_worst": min(PROBES.values()),
        "best_of": curve,
        "best_of_prompts": 16,
        "best_of_kept": 0.98,
        "best_of_kept_low": 0.9,
        "best_of_kept_high": 1.0,
        "best_of_peak_kl": 2.47,
        "second_pairs": 350,
        "second_accuracy": 0.71,
        "calibration_pairs": 52,
        "calibration_temperature": 1.3,
        "calibration_nll": 0.55,
        "calibration_nll_scaled": 0.51,
        "calibration_brier": 0.18,
        "calibration_brier_scaled": 0.17,
        "calibration_error": 0.09,
        "calibration_error_scaled": 0.06,
    }
