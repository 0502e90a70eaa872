"""The page of stages, made from the registry."""

from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc
from pkgutil import iter_modules

from app.services.loop import stages
from app.services.loop.stages.registry import STAGES, STARTABLE, TRAINING, queue_of
from app.services.loop.stages.stage import Stage
from docs.made.markdown import entries, page

LEAD = (
    "A *run* is one execution of a stage. A worker takes it from a queue; *training* is what a process of "
    "`python -m training STAGE` does, with torch, and *steps* is everything else. What a stage can be told stands in "
    "[settings of a project](settings.md), and how it works in [training](../training.md)."
)


def markdown() -> str:
    about = dict(_abouts())
    rows = [
        (_name(stage), queue_of(stage.name), _how(stage), f"**{stage.title}.** {_sentence(about.get(stage.name, ''))}")
        for stage in STAGES.values()
    ]
    return page("Stages", LEAD, entries(("stage", "queue", "started", "what"), rows))


def _name(stage: Stage) -> str:
    return f"[`{stage.name}`](settings.md#{stage.name})" if stage.name in TRAINING else f"`{stage.name}`"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _how(stage: Stage) -> str:
    return f"by an owner, too: `plumbline run start {stage.name}`" if stage.name in STARTABLE else "by itself"


def _abouts() -> Iterator[tuple[str, str]]:
    """By stage, the first paragraph of the file that it stands in."""
    for found in iter_modules(stages.__path__, prefix=f"{stages.__name__}."):
        module = import_module(found.name)
        own = [value for value in vars(module).values() if isinstance(value, Stage)]
        if len(own) == 1:
            said = (getdoc(module) or "").partition("\n\n")[0]
            yield own[0].name, said.partition(": ")[2] or said
