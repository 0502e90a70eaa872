"""A served model as it is typed into its form."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, Field

from app.db.tables import ServedModel
from app.db.tables.served import Protocol
from app.services.served.served_models import Description, Key, described
from app.services.served.settings import Limits, Sampling, limits_of, sampling_of
from app.web.pages.seen import SeenForm, digest_of

# Empty is a value of its own: it isn't sent, and the endpoint's own default holds.
MAY_BE_EMPTY = ("temperature", "top_p")

Typed = Annotated[str, Field(max_length=2000)]


class ServedForm(SeenForm):
    """Everything as text, so that what can't be used is shown again as it was typed. The key is never among it."""

    name: Typed = ""
    address: Typed = ""
    model: Typed = ""
    protocol: Typed = "chat"
    key: Annotated[str, Field(max_length=20_000, repr=False)] = ""
    forget_key: bool = False
    temperature: Typed = ""  # what isn't sent and what is sent empty is the same to FastAPI
    top_p: Typed = ""
    max_tokens: Typed = "512"
    responses_per_prompt: Typed = "2"
    stop: Typed = ""
    system: Annotated[str, Field(max_length=40_000)] = ""
    timeout_seconds: Typed = "120"
    retries: Typed = "4"
    parallel: Typed = "4"
    most_requests: Typed = "2000"
    most_tokens: Typed = "2000000"

    @classmethod
    def fresh(cls) -> "ServedForm":
        """The form for a new one."""
        return cls(temperature="1")

    @classmethod
    def of(cls, served: ServedModel) -> "ServedForm":
        """The form as it is filled in for one that there is."""
        now = described(served)
        settings = {**now.sampling.model_dump(), **now.limits.model_dump()}
        form = cls(
            name=now.name,
            address=now.address,
            model=now.model,
            protocol=now.protocol,
            **{
                name: "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
                for name, value in settings.items()
                if name != "stop"
            },
            stop="\n".join(text.replace("\n", "\\n") for text in now.sampling.stop),
        )
        return form.model_copy(update={"seen": digest_of([form.model_dump(), served.key_sealed])})

    def description(self) -> Description:
        """Raises Invalid."""
        typed = self.model_dump()
        stop = [line.replace("\\n", "\n") for line in self.stop.splitlines() if line.strip()]
        return Description(
            name=self.name,
            address=self.address,
            model=self.model,
            protocol=cast(Protocol, self.protocol),
            sampling=sampling_of(
                {**_numbers(typed, Sampling), "stop": stop, "system": self.system.replace("\r\n", "\n").strip()}
            ),
            limits=limits_of(_numbers(typed, Limits)),
        )

    def new_key(self) -> Key:
        return Key(new=self.key.strip() or None, forget=self.forget_key)


def _numbers(typed: Mapping[str, Any], settings: type[BaseModel]) -> dict[str, str | None]:
    """Of these settings, what was typed; an empty field is null or, where there has to be a number, the default."""
    given = {name: str(typed[name]).strip() for name in settings.model_fields if name not in ("stop", "system")}
    return {name: text or None for name, text in given.items() if text or name in MAY_BE_EMPTY}
