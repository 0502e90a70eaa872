"""What the API takes and gives of served models. A key goes in and never comes out."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from app.db.tables import ServedModel
from app.db.tables.served import Protocol
from app.services.loop.comparisons.comparisons import Comparison
from app.services.loop.comparisons.writers import NamedWriter
from app.services.served.served_models import Description, Key, changed, described
from app.services.served.settings import Limits, Sampling
from app.web.api.schemas import NO_NUL, In, Out

Named = Annotated[str, Field(min_length=1, max_length=300, pattern=NO_NUL)]
Address = Annotated[
    str, Field(min_length=1, max_length=2000, pattern=NO_NUL, description="Of the endpoint, `https://example.org/v1`.")
]
Secret = Annotated[
    str | None, Field(max_length=10_000, repr=False, description="Sent to the endpoint as a bearer token; never shown.")
]


class ServedModelIn(In):
    name: Named
    address: Address
    model: Annotated[str, Field(min_length=1, max_length=300, pattern=NO_NUL, description="As the endpoint knows it.")]
    protocol: Protocol = "chat"
    key: Secret = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits()

    def description(self) -> Description:
        return Description(self.name, self.address, self.model, self.protocol, self.sampling, self.limits)


class ServedModelChange(In):
    """What is left out stays as it is. Another host needs its key again."""

    name: Named | None = None
    address: Address | None = None
    model: Named | None = None
    protocol: Protocol | None = None
    key: Secret = None
    forget_key: bool = False
    sampling: Sampling | None = None
    limits: Limits | None = None

    def description(self, served: ServedModel) -> Description:
        given = self.model_dump(exclude={"key", "forget_key"}, exclude_unset=True)
        return changed(described(served), {name: value for name, value in given.items() if value is not None})

    def new_key(self) -> Key:
        return Key(new=self.key or None, forget=self.forget_key)


class ServedModelOut(Out):
    id: int
    name: str
    address: str
    model: str
    protocol: Protocol
    has_key: bool
    sampling: Sampling
    limits: Limits
    created_at: datetime

    @classmethod
    def of(cls, served: ServedModel) -> Self:
        now = described(served)
        return cls(
            id=served.id,
            name=now.name,
            address=now.address,
            model=now.model,
            protocol=now.protocol,
            has_key=served.key_sealed is not None,
            sampling=now.sampling,
            limits=now.limits,
            created_at=served.created_at,
        )


class TestIn(In):
    prompt: Annotated[str, Field(min_length=1, max_length=20_000, pattern=NO_NUL)]


class ServedAnswerOut(Out):
    text: str
    finish_reason: str | None
    answered_by: str | None = Field(description="What the endpoint calls the model that wrote this.")
    prompt_tokens: int
    completion_tokens: int
    counted: bool = Field(description="False where the endpoint gave no count and this is an estimate.")


class WriterOut(Out):
    writer: str = Field(description="`served:ID` or `policy:ID`, as `compared` takes it.")
    name: str = Field(description="Of a policy, its number.")

    @classmethod
    def of(cls, named: NamedWriter) -> Self:
        return cls(writer=str(named.writer), name=named.name)


class ComparisonOut(Out):
    first: WriterOut
    second: WriterOut
    judgements: int
    tasks: int
    share: float = Field(description="Of the judgements, those that prefer the first; a tie is half.")
    low: float = Field(description="With `high` the 95 % interval of `share`.")
    high: float

    @classmethod
    def of(cls, found: Comparison) -> Self:
        return cls(
            first=WriterOut.of(found.first),
            second=WriterOut.of(found.second),
            judgements=found.judgements,
            tasks=found.tasks,
            share=found.share,
            low=found.low,
            high=found.high,
        )


Writers = Annotated[
    list[Annotated[str, Field(max_length=100)]],
    Field(
        max_length=9, description="Writers, as `GET …/writers` lists them; one alone: its responses with each other."
    ),
]


class AskIn(In):
    prompts: Annotated[
        int | None, Field(ge=1, le=100_000, description="So many prompts are answered; null: as many as by a policy.")
    ] = None
    compared: Writers = Field(default_factory=list)


class PairsIn(In):
    compared: Writers
    pairs: Annotated[int, Field(ge=1, le=100_000, description="At most.")]
