"""Stages by name and by button, in the reader's language."""

from dataclasses import dataclass

from app.services.loop.stages.registry import STAGES, STARTABLE
from app.web.locales import gettext


@dataclass(frozen=True)
class StageButton:
    """What the project's page says of a stage that an owner may start."""

    stage: str
    title: str
    about: str


def stage_title(name: str) -> str:
    """How pages call the stage."""
    return gettext(STAGES[name].title) if name in STAGES else name


def buttons(*, harmlessness: bool) -> tuple[StageButton, ...]:
    """The stages that an owner may start in a project whose rounds hold harm to a limit, or don't."""
    shown = []
    for name, stage in STARTABLE.items():
        button = stage.button
        if button is None or (button.needs_harmlessness and not harmlessness):
            continue
        about = (button.about_with_harmlessness if harmlessness else None) or button.about
        shown.append(StageButton(name, gettext(button.title), gettext(about)))
    return tuple(shown)
