"""Models out over the API: whole, from where a download broke off, and with their card."""

import io
import tarfile
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import AuditEntry, ModelVersion, Run
from tests.api.conftest import As
from tests.browser.seed import Seeded


def address(seeded: Seeded, kind: str = "policy", number: int = 2) -> str:
    return f"/api/v1/projects/{seeded.project.slug}/models/{kind}/{number}"


async def test_a_model_comes_as_a_directory_with_its_card(calling: As, seeded: Seeded, db: AsyncSession) -> None:
    answer = await calling("owner").get(f"{address(seeded)}/archive", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-tar"
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(answer.content))
    folder = f"{seeded.project.slug}-policy-2"
    assert answer.headers["content-disposition"] == f'attachment; filename="{folder}.tar"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert sorted(tar.getnames()) == [f"{folder}/{name}" for name in ("README.md", "manifest.json", "weights.txt")]
        card = tar.extractfile(f"{folder}/README.md")
        assert card is not None
        assert card.read().decode() == (await calling("owner").get(f"{address(seeded)}/card")).text
    noted = (await db.scalars(select(AuditEntry).where(AuditEntry.kind == "export"))).all()
    assert [(entry.subject, entry.after) for entry in noted] == [("policy 2", {"as": "archive"})]


async def test_a_download_that_broke_off_goes_on(calling: As, seeded: Seeded) -> None:
    owner = calling("owner")
    whole = await owner.get(f"{address(seeded)}/archive")
    etag = whole.headers["etag"]
    rest = await owner.get(f"{address(seeded)}/archive", headers={"Range": "bytes=700-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, whole.content[700:])
    size = len(whole.content)
    assert rest.headers["content-range"] == f"bytes 700-{size - 1}/{size}"
    for asked, got in {
        "bytes=0-9": whole.content[:10],
        "bytes=-9": whole.content[-9:],
        "bytes=5-999999999": whole.content[5:],
    }.items():
        part = await owner.get(f"{address(seeded)}/archive", headers={"Range": asked})
        assert (part.status_code, part.content) == (206, got), asked
    for asked in ("bytes=0-1,5-6", "rows=1-2", "bytes=-", f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}"):
        part = await owner.get(f"{address(seeded)}/archive", headers={"Range": asked})
        assert (part.status_code, part.content) == (200, whole.content), asked
    beyond = await owner.get(f"{address(seeded)}/archive", headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    known = await owner.get(f"{address(seeded)}/archive", headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    other = await owner.get(f"{address(seeded)}/archive", headers={"Range": "bytes=700-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content), "a part of another archive isn't mixed in"


async def test_a_model_whose_files_are_gone_is_refused_in_words(calling: As, seeded: Seeded, tmp_path: Path) -> None:
    (tmp_path / "home" / "models" / "policy-2" / "weights.txt").unlink()
    answer = await calling("owner").get(f"{address(seeded)}/archive")
    assert answer.status_code == 422
    assert "policy-2/weights.txt doesn't match its manifest" in answer.json()["detail"]
    (tmp_path / "home" / "models" / "policy-2" / "manifest.json").write_text("{}")
    assert (await calling("owner").get(f"{address(seeded)}/card")).status_code == 422


async def test_a_card_says_what_a_model_is_of_and_what_it_is_not_for(
    calling: As, seeded: Seeded, db: AsyncSession
) -> None:
    card = (await calling("reviewer").get(f"{address(seeded, number=3)}/card")).text
    assert card.startswith("---\n")
    front, _, body = card[4:].partition("\n---\n")
    assert "library_name: transformers" in front
    assert "pipeline_tag: text-generation" in front
    assert f"# {seeded.project.name}: policy 3" in body
    assert "- Made by `ppo`" in body
    assert "in round 2" in body
    assert "- From policy 1 (`" in body
    assert "Licence: not known" in body
    assert "- **Refused** on " in body
    assert "## What it is not for" in body
    assert "It learnt what the people of one project prefer, not what is true." in body
    reward = (await calling("reviewer").get(f"{address(seeded, 'reward', 2)}/card")).text
    assert "AutoModelForSequenceClassification" in reward
    assert "| Agreement with held-out judgements |" in reward
    assert "- Learnt from preferences 2: " in reward
    run_of_it = select(ModelVersion.run_id).where(ModelVersion.kind == "policy", ModelVersion.number == 3)
    await db.execute(update(Run).where(Run.id.in_(run_of_it)).values(stage="adopt"))
    await db.commit()
    brought = (await calling("reviewer").get(f"{address(seeded, number=3)}/card")).text
    assert "Nothing was learnt: taken as it was brought" in brought
    assert "It learnt what the people" not in brought
