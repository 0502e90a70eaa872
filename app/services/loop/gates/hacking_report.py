"""What the detectors of reward hacking found in a PPO run: a file that its training process rewrites at every
evaluation, so that it is there while the run is under way."""

import json
from pathlib import Path

from app.db.base import Json
from app.db.tables import Run

REPORT = "reward_hacking.json"


def report_of(run: Run, home: Path) -> Json | None:
    """The newest report; None before the first evaluation and for runs that have none."""
    if run.folder is None:
        return None
    try:
        report = json.loads((home / run.folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and report.get("evaluations") else None
