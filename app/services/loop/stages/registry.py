"""All stages by name. What shows, queues, starts or draws stages reads them from here.

Their order is that of the buttons on the project's page.
"""

from collections.abc import Mapping
from enum import StrEnum

from app.services.dispatch import QueueName
from app.services.loop.stages.adopt import ADOPT
from app.services.loop.stages.ask import ASK
from app.services.loop.stages.change import CHANGE
from app.services.loop.stages.copy import COPY
from app.services.loop.stages.cost import COST
from app.services.loop.stages.dpo import DPO
from app.services.loop.stages.embed import EMBED
from app.services.loop.stages.erase import ERASE
from app.services.loop.stages.evaluate import EVALUATE
from app.services.loop.stages.exporting import EXPORT
from app.services.loop.stages.figures import SHARED, Words
from app.services.loop.stages.folder import FOLDER
from app.services.loop.stages.gate import GATE
from app.services.loop.stages.generate import GENERATE
from app.services.loop.stages.importing import IMPORT
from app.services.loop.stages.judge import JUDGE
from app.services.loop.stages.kto import KTO
from app.services.loop.stages.pack import PACK
from app.services.loop.stages.ppo import PPO
from app.services.loop.stages.promote import PROMOTE
from app.services.loop.stages.push import PUSH
from app.services.loop.stages.remove import REMOVE
from app.services.loop.stages.reward import REWARD
from app.services.loop.stages.select import SELECT
from app.services.loop.stages.sft import SFT
from app.services.loop.stages.snapshot import SNAPSHOT
from app.services.loop.stages.stage import Stage, TrainingStage
from app.services.loop.stages.unpack import UNPACK

_ALL: tuple[Stage, ...] = (
    REWARD, COST, PPO, DPO, KTO, GENERATE, ASK, JUDGE, SFT, ADOPT, EVALUATE, EMBED, SELECT, SNAPSHOT, GATE, PROMOTE,
    IMPORT, EXPORT, COPY, PACK, UNPACK, REMOVE, ERASE, CHANGE, FOLDER, PUSH,
)  # fmt: skip
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _ALL}
TRAINING: Mapping[str, TrainingStage] = {
    name: stage for name, stage in STAGES.items() if isinstance(stage, TrainingStage)
}
STARTABLE: Mapping[str, Stage] = {name: stage for name, stage in STAGES.items() if stage.button is not None}
"""Those that an owner starts by hand."""
Startable = StrEnum("Startable", list(STARTABLE))  # type: ignore[misc]  # whose members are the table's
"""The same names, for forms and commands that offer them."""
FIGURES: Mapping[str, Words] = {
    **{name: words for stage in STAGES.values() for name, words in stage.own_figures.items()},
    **SHARED,
}
"""Every figure of a result that pages have words for, in the order of telling."""


def queue_of(name: str) -> QueueName:
    """A training run takes most of the machine; the short stages pass it on a queue of their own."""
    return "training" if name in TRAINING else "steps"
