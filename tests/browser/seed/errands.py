"""A prompt that two policies have answered in the playground."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Errand, ModelVersion, Project, User

ANSWERS = (
    "Put the dough in a warm place and wait until it is twice as large: with dry yeast about an hour.",
    "An hour. Then fold it, and let it rise for half an hour more in its tin.",
)


async def make_errand(db: AsyncSession, project: Project, owner: User, policies: list[ModelVersion]) -> Errand:
    asked = {
        "messages": [{"role": "user", "content": "How long does bread dough have to rise?"}],
        "writers": [f"policy:{policy.id}" for policy in policies],
        "samples": 1,
        "max_new_tokens": 120,
        "temperature": 0.7,
        "config": {"temperature": 0.7, "max_new_tokens": 120, "samples_per_prompt": 1, "seed": 0},
    }
    answers = [
        {
            "writer": f"policy:{policy.id}",
            "name": str(policy.number),
            "state": "done",
            "text": text,
            "token_count": 24,
            "ended_with_eos": True,
            "seconds": 1.4,
            "reward": reward,
            "reward_by": 2,
        }
        for policy, text, reward in zip(policies, ANSWERS, (0.31, 1.12), strict=True)
    ]
    errand = Errand(
        project_id=project.id,
        asked_by_id=owner.id,
        kind="write",
        state="succeeded",
        asked=asked,
        answers=answers,
        started_at=func.now(),
        ended_at=func.now(),
    )
    db.add(errand)
    await db.flush()
    return errand
