"""What somebody asks for of a dataset version: the form of pages, the query of REST, the options of a command."""

from typing import Literal

from pydantic import ConfigDict, Field

from app.services.data.exports import registry
from app.services.data.exports.filters import Filters
from app.services.data.exports.formats import FORMATS, Format
from app.services.data.exports.schema import Votes

_SCHEMAS = f"Of preferences: {registry.choice('preferences')} Of demonstrations: {registry.choice('demonstrations')}"
Files = Literal["one", "splits"]


class Asked(Filters):
    """`schema_name` None is the usual one of the kind of dataset."""

    schema_name: str | None = Field(default=None, alias="schema", max_length=40, description=_SCHEMAS)
    form: Format = Field(default="jsonl", alias="format")
    votes: Votes = Field(
        default="each",
        description="What becomes of several people's votes on one pair: `each` is a row; else they are one row, of the"
        " side that most took (`majority`), with the share that took it (`soft`), or with what the annotator model"
        " makes of them (`posterior`).",
    )
    files: Files = Field(default="one", description="All rows in one file, or a zip with a file for each split.")

    model_config = ConfigDict(populate_by_name=True)

    @property
    def suffix(self) -> str:
        """The end of the file's name."""
        return self.form if self.files == "one" else "zip"

    @property
    def media_type(self) -> str:
        return FORMATS[self.form].media_type if self.files == "one" else "application/zip"
