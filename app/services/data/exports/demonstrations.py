"""The demonstrations of a dataset version, and the prompts of any."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.errors import Invalid
from app.services.data import datasets
from app.services.data.exports.pairs import pairs
from app.services.data.exports.records import Record, some_records
from app.services.data.exports.schema import Reading


async def demonstrations(reading: Reading) -> AsyncGenerator[list[Record]]:
    """In the order in which they came. All are to train on. Raises ErasedFrom and BrokenDataset before the first, and
    Invalid for a filter: a version's file says nothing of them to filter by."""
    if reading.filters.narrows:
        raise Invalid("Demonstrations can be narrowed to their split alone.")
    file = await asyncio.to_thread(datasets.verify, reading.version, reading.home)
    if reading.filters.split not in (None, "train"):
        return
    with file.open("rb") as lines:
        while records := await asyncio.to_thread(some_records, lines):
            yield records


async def prompts(reading: Reading) -> AsyncGenerator[list[Record]]:
    """A record of each prompt, in the order in which they come up."""
    seen: set[int] = set()
    async with aclosing(_records(reading)) as found:
        async for some in found:
            new = {int(record["prompt_id"]): record for record in some if int(record["prompt_id"]) not in seen}
            seen.update(new)
            yield list(new.values())


async def _records(reading: Reading) -> AsyncGenerator[list[Record]]:
    if reading.version.kind == "demonstrations":
        async for records in demonstrations(reading):
            yield records
        return
    async for some in pairs(reading):
        yield [pair.record for pair in some]
