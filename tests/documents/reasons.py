"""Commands that are shown and aren't run, and why. What there isn't of them is found all the same (`test_commands`)."""

import re

# By the beginning of the command, a reason; an entry that no document shows any more is a mistake.
NOT_RUN = {
    "make ": "installs, tests or measures for minutes; its targets are looked up in the Makefile",
    "python -m bench.": "a measurement of minutes; its module and options are looked up",
    ".venv/bin/python -m bench.": "as above",
    "PLUMBLINE_WEB_PROCESSES=2 .venv/bin/python -m bench.": "as above",
    "PLUMBLINE_STARTER_MODEL=models/mine make": "starts the whole site for good: tests/infra/test_up.py does",
    "plumbline simulate": "needs a worker that has trained the starter: tests/simulation, and `make proof`",
    "PLUMBLINE_HOME=/tmp/drill": "a home of its own with a server of its own: tests of backups restore into one",
    "plumbline doctor": "finds fault with a site that has no worker: tests/cli/test_doctor.py",
    "docker ": "needs Docker",
    "kubectl ": "needs a cluster; what it applies: tests/infra/test_kubernetes.py",
    "pip install ": "what it installs is there in the tests",
    "sudo ": "needs systemd and root",
    "git ": "fetches another version",
    "openssl ": "writes a secret where its account alone is let in",
    "RAY_AUTH_MODE=token ": "starts a cluster: tests/jobs/test_ray_cluster.py does, with `make proof`",
    "echo ": "writes a secret for containers",
    "python -m training ": "trains for minutes: its file is read as the stage would; tests/training",
}


def why_not_run(command: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if re.match(re.escape(start), command)), None)
