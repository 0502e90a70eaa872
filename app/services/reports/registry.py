"""The reports that there are, by name."""

from typing import Any

from app.services.reports.report import Report

REPORTS: dict[str, Report[Any]] = {}
