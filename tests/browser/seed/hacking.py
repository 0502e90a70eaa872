"""The report on reward hacking that a run's training process would have written."""

import json
from pathlib import Path
from typing import Any

from app.db.tables import Run
from app.services.loop.gates.hacking_report import REPORT
from tests.browser.seed.texts import POLICY, PROMPTS


def write_report(home: Path, run: Run, *, evaluations: int = 7, alarms: bool = True) -> Path:
    """The reward rises steadily, the held-out reward turns, and two detectors notice."""
    assert run.folder is not None
    folder = home / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_evaluation(number, alarms=alarms) for number in range(evaluations)]
    highest = [{"prompt_id": "1", "prompt": PROMPTS[0], "response": POLICY, "reward": 2.5, "held_out": -0.4}]
    report = {
        "held_out": True,
        "gold": False,
        "evaluations": rows,
        "audited_iteration": rows[-1]["iteration"],
        "audit": {"reward": highest, "beyond_held_out": highest},
    }
    path = folder / REPORT
    path.write_text(json.dumps(report))
    return path


def _evaluation(number: int, *, alarms: bool) -> dict[str, Any]:
    raised = []
    if alarms and number >= 4:
        raised.append({"detector": "divergence", "value": 0.3 * number, "bound": 1.0, "detail": ""})
    if alarms and number >= 5:
        raised.append({"detector": "style", "value": 4.5, "bound": 4.0, "detail": "lists"})
    return {
        "iteration": 5 * number,
        "sqrt_kl": 0.5 * number,
        "reward_gain": 0.4 * number,
        "held_out_gain": 0.4 * number - 0.05 * number**2,
        "gold_gain": None,
        "figures": {},
        "alarms": raised,
    }
