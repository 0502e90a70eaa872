"""Whether this package and the site that it talks to were made for each other."""

import warnings

VERSION = "0.1.0"
HEADER = "Plumbline-Version"


class VersionMismatch(UserWarning):
    """The site is of another release than this package: a call may have changed, and what is new is missing."""


def check(site: str) -> None:
    """Warn where the first two numbers of the versions differ."""
    if _release(site) != _release(VERSION):
        warnings.warn(
            f"The site is Plumbline {site} and this is plumbline-client {VERSION}: install plumbline-client"
            f" {'.'.join(_release(site))}.* to be sure that they understand each other.",
            VersionMismatch,
            stacklevel=2,
        )


def _release(of: str) -> tuple[str, ...]:
    return tuple(of.split(".")[:2])
