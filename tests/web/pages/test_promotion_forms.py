"""Putting a model into use by hand: against its gate for a reason alone, and never with other files."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Gate, Promotion
from tests.seeded import seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url
from tests.web.pages.test_admin_pages import PROJECT, read, words

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

MODELS = f"{PROJECT}/models"
PROMOTE = f"{MODELS}/policy/3/promote"


async def test_a_version_that_its_gate_refused_is_used_only_for_a_reason_which_is_kept(
    doors: dict[str, Door], db: AsyncSession
) -> None:
    found = re.findall(r'action="[^"]*policy/3/promote">.*?</form>', await read(doors["owner"], MODELS), re.DOTALL)
    (form,) = found
    assert "Its gate refused it." in form
    assert re.search(r'<input [^>]*name="reason"[^>]* required>', form)
    for blank in ({}, {"reason": " "}):
        refused = await doors["owner"].send("POST", PROMOTE, blank)
        assert (refused.status_code, "Say why it is to be used all the same." in refused.text) == (422, True)
    assert (await doors["owner"].send("POST", PROMOTE, {"reason": "KL is fine here."})).status_code == 303
    history = words(await read(doors["owner"], MODELS))
    assert "Promoted policy 3 in place of policy 2 against its gate Ines Okafor KL is fine here." in history
    promotion = (await db.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1))).one()
    gate = await db.get_one(Gate, promotion.overrides_gate_id)
    assert not gate.passed
    with pytest.raises(IntegrityError, match="override_has_a_reason"):
        await db.execute(update(Promotion).where(Promotion.id == promotion.id).values(reason=" "))


async def test_a_model_of_which_one_byte_was_changed_is_not_put_into_use(
    doors: dict[str, Door], tmp_path: Path
) -> None:
    weights = tmp_path / "home" / "models" / "policy-3" / "weights.txt"
    weights.write_bytes(weights.read_bytes().replace(b"3", b"4"))
    form = {"reason": "I read its samples."}
    refused = await doors["owner"].send("POST", PROMOTE, form)
    assert (refused.status_code, "policy-3/weights.txt doesn&#39;t match its manifest" in refused.text) == (422, True)
    (tmp_path / "home" / "models" / "policy-1" / "manifest.json").write_text(
        '{"format": 1, "kind": "policy", "files": {}}'
    )
    back = await doors["owner"].send("POST", f"{MODELS}/roll-back", {"kind": "policy"})
    assert (back.status_code, "its manifest was changed" in back.text) == (422, True)
