"""Settings of a chat template, written into its own first lines, so that whoever opens the model renders alike: the
next stage, a server, any other tool."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BEGIN, _END = "{# settings of this model #}", "{# end of settings #}{{ '' }}"
_FOLD = (
    "{% if messages | length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}"
    "{% set messages = [{'role': 'user', 'content': messages[0]['content'] + '\n\n' + messages[1]['content']}]"
    " + messages[2:] %}{% endif %}"
)


def set_template(
    tokenizer: "PreTrainedTokenizerBase", values: Mapping[str, object], *, fold_system_turns: bool = False
) -> None:
    """Fix variables that the template reads, and whether a system's turn becomes the beginning of the first user's.

    What was set before stays, but for variables that are set anew. Raises `ValueError` for a name that is none.
    """
    if not values and not fold_system_turns:
        return
    template = str(tokenizer.chat_template)
    before, folded = _settings_of(template)
    lines = [f"{{% set {_name(name)} = {_literal(value)} %}}" for name, value in {**before, **values}.items()]
    told = f"{{# {json.dumps({**before, **values})} #}}" if lines else ""
    fold = _FOLD if fold_system_turns or folded else ""
    tokenizer.chat_template = f"{_BEGIN}{told}{''.join(lines)}{fold}{_END}{_bare(template)}"


def _bare(template: str) -> str:
    return template.partition(_END)[2] if template.startswith(_BEGIN) else template


def _settings_of(template: str) -> tuple[dict[str, object], bool]:
    """Variables, and whether system turns are folded."""
    if not template.startswith(_BEGIN):
        return {}, False
    head = template.removeprefix(_BEGIN).partition(_END)[0]
    told = re.match(r"\{# (.*?) #\}", head)
    return json.loads(told[1]) if told is not None else {}, head.endswith(_FOLD)


def _name(name: str) -> str:
    if not name.isidentifier() or name in ("messages", "add_generation_prompt"):
        raise ValueError(f"{name} is no variable of a chat template")
    return name


def _literal(value: object) -> str:
    """As Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
