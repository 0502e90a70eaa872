"""How an export is asked for in an address: the same for pages and API."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field, model_validator

from app.db.tables.lineage import DatasetKind
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS


class ExportQuery(Asked):
    """`raw` is what the schema of that name was asked for by before it had one."""

    kind: DatasetKind = Field(default="preferences", description="Versions of each kind are numbered by themselves.")
    raw: bool = Field(default=False, description="The same as the schema `raw`.", deprecated=True)

    @model_validator(mode="before")
    @classmethod
    def _raw_is_a_schema(cls, given: Any) -> Any:
        """Of the fields of a form, those that are empty narrow nothing."""
        if not isinstance(given, dict):
            return given
        asked = {name: value for name, value in given.items() if value != ""}
        if str(asked.get("raw", "")).lower() in ("1", "true", "yes", "on") and "schema" not in asked:
            asked["schema"] = "raw"
        return asked

    @property
    def asked(self) -> Asked:
        """Without the version."""
        return Asked.model_validate(self.model_dump(by_alias=True, include=set(Asked.model_fields)))


AskedFor = Annotated[ExportQuery, Query()]
MEDIA_TYPES = (*(form.media_type for form in FORMATS.values()), "application/zip")
