"""The web server's own lines in the form of ours, from its first one on: it reads the file beside this one."""

import logging
from pathlib import Path

from app import logs
from app.settings import settings

CONFIGURATION = Path(__file__).with_suffix(".json")


def formatter() -> logging.Formatter:
    """Lines as the settings of this process want them."""
    return logs.formatter(settings().log_format)
