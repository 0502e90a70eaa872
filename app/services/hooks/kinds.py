"""What webhooks can be told of, in words."""

from collections.abc import Mapping
from typing import get_args

from app.db.tables.hooks import EventKind
from app.phrases import phrase

TEST: EventKind = "webhook.test"
GATHERED: EventKind = "judgements.created"

EVENTS: Mapping[EventKind, str] = {
    "judgements.created": phrase("Judgements, many in one message: how many there are since the last one"),
    "judgement.created": phrase("Each judgement, in a message of its own"),
    "dataset_version.created": phrase("A dataset version was cut"),
    "run.ended": phrase("A run has ended: done, failed or cancelled"),
    "round.started": phrase("A round has started"),
    "round.ended": phrase("A round has ended"),
    "gate.decided": phrase("A gate has passed or refused a model"),
    "model.promoted": phrase("A model was put into use"),
    "model.rolled_back": phrase("The model in use was rolled back"),
    "alarm.raised": phrase("A run has ended in which detectors of reward hacking raised alarms"),
}
"""All that can be chosen. What is said of checks and what imports bring is told by none."""

assert {*EVENTS, TEST} == set(get_args(EventKind))
