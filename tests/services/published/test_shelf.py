"""Models and dataset versions in a storage: whole or not at all there, compared on their way here, copied once."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from threading import Barrier
from typing import BinaryIO, Self

import httpx
import pytest

from app.errors import NoRoom
from app.services.published import bucket, moving
from app.services.published.bucket import Away, Bucket, Disobedient, Taken
from app.services.published.copies import FOLDER
from app.services.published.shelf import Shelf
from app.services.published.thing import Broken, Published, of_dataset, of_model
from tests.faults.room import no_room_beyond
from tests.object_storage import Between, Stored, between

__all__ = ["between"]

NAME = "models/demo/policy-run-1"
WEIGHTS = b"0123456789" * 3
# Long enough for the socket's buffers not to take it all.
LONG = b"0123456789abcdef" * (1 << 20)

PROGRAM = """
import sys
from pathlib import Path
from app.services.published.shelf import shelf_of
from app.services.published.thing import of_model
what, home, path, digest = sys.argv[1:]
shelf = shelf_of(Path(home))
thing = of_model(path, digest)
shelf.keep(thing) if what == "keep" else shelf.bring(thing)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere"


def make_model(home: Path, path: str = NAME, *, weights: bytes = WEIGHTS, base: str | None = None) -> Published:
    folder = home / path
    folder.mkdir(parents=True)
    files = {"weights.bin": weights, "deep/config.json": b"{}"}
    if base is not None:
        files["adapter_config.json"] = json.dumps({"base_model_name_or_path": base}).encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"format": 1, "kind": "policy", "files": digests}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return of_model(path, hashlib.sha256(manifest).hexdigest())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def killed_by_the_end(what: str, home: Path, thing: Published, endpoint: str) -> Iterator[None]:
    """Another process does it, and is killed by the block's end, wherever it is."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, str(home), thing.path, thing.sha256],
        env=os.environ | {"AWS_ENDPOINT": endpoint},
    )
    try:
        yield
        assert process.poll() is None, "it is at work"
    finally:
        process.kill()
        process.wait()


def test_a_model_is_in_the_storage_byte_for_byte_and_comes_back_so(stored: Stored, home: Path, elsewhere: Path) -> None:
    thing = make_model(home)
    stored.shelf(home).keep(thing)
    assert sorted(key.rpartition("/")[2] for key in stored.names()) == ["config.json", "manifest.json", "weights.bin"]
    there = stored.shelf(elsewhere)
    assert there.bring(thing) == elsewhere / NAME
    assert contents(elsewhere / NAME) == contents(home / NAME)
    dataset = of_dataset("datasets/demo/preferences-0001.jsonl", hashlib.sha256(b"{}\n").hexdigest())
    (home / "datasets" / "demo").mkdir(parents=True)
    (home / dataset.path).write_bytes(b"{}\n")
    stored.shelf(home).keep(dataset)
    assert there.bring(dataset).read_bytes() == b"{}\n"


def test_without_a_manifest_there_is_no_model_and_what_was_left_goes_after_a_day(
    stored: Stored, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = make_model(home)
    shelf = stored.shelf(home)
    shelf.keep(thing)
    stored.remove(f"{NAME}/manifest.json")
    there = stored.shelf(elsewhere)
    assert there.held(thing) is None
    there.bring(thing)
    assert not (elsewhere / NAME).exists()
    assert shelf.remove_unfinished() == {}, "somebody may be about to write the manifest"
    monkeypatch.setattr("app.services.published.bucket.UNFINISHED_AGE", timedelta(days=-1))
    whole = make_model(home, "models/demo/policy-run-2", weights=b"others")
    shelf.keep(whole)
    assert len(shelf.remove_unfinished()) == 1
    assert {key.split("/")[2] for key in stored.names()} == {"policy-run-2"}
    assert there.bring(whole).is_dir()


def test_who_comes_back_to_an_old_publication_loses_nothing_to_a_sweep_that_is_under_way(
    stored: Stored, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = stored.shelf(home)
    things = [make_model(home, f"models/demo/policy-run-{number}") for number in (1, 2)]
    for thing in things:
        shelf.keep(thing)
        stored.remove(f"{thing.path}/manifest.json")
    days_later = datetime.now(UTC) + timedelta(days=2)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(days_later.timestamp(), tz)

    monkeypatch.setattr(bucket, "datetime", Clock)
    assert shelf.bucket is not None
    sweep = shelf.bucket.unfinished()
    first, _ = next(sweep)
    shelf.bucket.remove(first)
    for thing in things:  # where a sweep may have looked, and where it comes later
        shelf.keep(thing)
    assert list(sweep) == []
    for thing in things:
        assert contents(stored.shelf(elsewhere).bring(thing)) == contents(home / thing.path)


def test_the_second_writer_of_a_name_is_refused_and_spoils_nothing(
    stored: Stored, home: Path, elsewhere: Path, tmp_path: Path
) -> None:
    first, second = make_model(home), make_model(elsewhere, weights=b"another model")
    stored.shelf(home).keep(first)
    with pytest.raises(Taken, match="holds something else as models/demo/policy-run-1"):
        stored.shelf(elsewhere).keep(second)
    stored.shelf(home).keep(first)  # twice is once
    assert contents(stored.shelf(tmp_path / "third").bring(first))["weights.bin"] == WEIGHTS


def test_of_two_that_publish_different_models_at_once_one_is_refused_and_the_other_is_whole(
    stored: Stored, home: Path, elsewhere: Path, tmp_path: Path
) -> None:
    things = [make_model(home, weights=b"a" * 300), make_model(elsewhere, weights=b"b" * 300)]
    shelves = [stored.shelf(place) for place in (home, elsewhere)]
    for shelf in shelves:
        shelf.bucket.require_obedient()  # type: ignore[union-attr]
    with ThreadPoolExecutor() as actors:
        ends = [actors.submit(shelf.keep, thing) for shelf, thing in zip(shelves, things, strict=True)]
        errors = [end.exception() for end in ends]
    assert {type(error) for error in errors} == {Taken, type(None)}
    won = things[errors.index(None)]
    assert stored.shelf(tmp_path / "third").bring(won).is_dir()


def test_a_publication_that_was_killed_is_none_and_the_next_sends_what_is_lacking(
    stored: Stored, between: Between, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = make_model(home)
    between.stalls_at = ("PUT", f"{NAME}/manifest.json")
    with killed_by_the_end("keep", home, thing, between.url):
        assert between.stalled.wait(30)
    between.stalls_at = ("none", "")
    assert any(key.endswith("weights.bin") for key in stored.names())
    assert stored.shelf(elsewhere).held(thing) is None
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    between.asked.clear()
    stored.shelf(home).keep(thing)
    assert between.count("PUT", "weights.bin") == 0
    assert contents(stored.shelf(elsewhere).bring(thing)) == contents(home / NAME)


def test_a_storage_that_lets_a_name_be_taken_twice_is_found_out_before_anything_is_put_into_it(
    stored: Stored, between: Between, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between.forgets_conditions = True
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    with pytest.raises(Disobedient, match="doesn't obey If-None-Match"):
        stored.shelf(home).keep(make_model(home))
    assert stored.names() == []


def test_an_answer_that_gets_lost_makes_no_storage_disobedient(
    stored: Stored, between: Between, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between.loses_answers = 1
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    stored.shelf(home).keep(make_model(home))
    assert between.loses_answers == 0
    assert f"{NAME}/manifest.json" in stored.names()


def test_a_flipped_byte_is_found_on_the_way_here_by_name_and_nothing_of_it_is_seen(
    stored: Stored, home: Path, elsewhere: Path
) -> None:
    thing = make_model(home)
    stored.shelf(home).keep(thing)
    stored.flip_a_byte("weights.bin")
    there = stored.shelf(elsewhere)
    with pytest.raises(Broken, match=r"policy-run-1/weights.bin doesn't match its manifest"):
        there.bring(thing)
    assert not (elsewhere / NAME).exists()
    assert not list((elsewhere / FOLDER).glob("*.part"))
    stored.write(f"{NAME}/manifest.json", b'{"format": 1, "files": {"../../weights.bin": "00"}}')
    with pytest.raises(Broken, match="is not the model that was registered"):
        there.bring(thing)


def test_what_is_not_what_its_manifest_says_is_never_published(stored: Stored, home: Path) -> None:
    thing = make_model(home)
    for content in (b"something else", b""):
        (home / NAME / "weights.bin").write_bytes(content)
        with pytest.raises(Broken, match="doesn't match its manifest"):
            stored.shelf(home).keep(thing)
        assert f"{NAME}/manifest.json" not in stored.names()
    empty = make_model(home, "models/demo/policy-run-2", weights=b"")
    stored.shelf(home).keep(empty)
    assert stored.shelf(home).held(empty) is not None


def test_two_that_want_the_same_model_at_once_copy_it_once(
    stored: Stored, between: Between, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = make_model(home)
    stored.shelf(home).keep(thing)
    monkeypatch.setenv("AWS_ENDPOINT", between.url)
    begin = Barrier(2)

    def bring(shelf: Shelf) -> None:
        begin.wait()
        shelf.bring(thing)

    with ThreadPoolExecutor() as actors:
        list(actors.map(bring, [stored.shelf(elsewhere) for _ in range(2)]))
    assert between.count("GET", "/weights.bin") == 1
    assert contents(elsewhere / NAME) == contents(home / NAME)


def test_half_a_download_is_never_seen_and_is_swept(
    stored: Stored, between: Between, home: Path, elsewhere: Path
) -> None:
    thing = make_model(home, weights=LONG)
    stored.shelf(home).keep(thing)
    between.stalls_at = ("GET", "/weights.bin")
    with killed_by_the_end("bring", elsewhere, thing, between.url):
        assert between.stalled.wait(30)
        assert not (elsewhere / NAME).exists()
    there = stored.shelf(elsewhere)
    assert list((elsewhere / FOLDER).glob("*.part"))
    there.copies.sweep()
    assert not list((elsewhere / FOLDER).glob("*.part"))
    assert (there.bring(thing) / "weights.bin").read_bytes() == LONG


def age(shelf: Shelf, thing: Published, seconds: float) -> None:
    """As if it had been used that long ago."""
    (mark,) = (file for file in (shelf.home / FOLDER).glob("*.json") if thing.path in file.read_text())
    past = mark.stat().st_mtime - seconds
    os.utime(mark, (past, past))


def test_copies_stay_within_their_bound_and_the_one_that_was_used_longest_ago_goes_first(
    stored: Stored, home: Path, elsewhere: Path
) -> None:
    things = [make_model(home, f"models/demo/policy-run-{number}", weights=b"w" * 1000) for number in range(3)]
    for thing in things:
        stored.shelf(home).keep(thing)
    there = stored.shelf(elsewhere, most_bytes=2600)
    own = make_model(elsewhere, "models/demo/own")
    for number, thing in enumerate(things[:2]):
        there.bring(thing)
        age(there, thing, 7200 - number)
    there.bring(things[0])  # used again
    age(there, things[0], 3600)
    there.bring(things[2])
    assert [thing.is_in(elsewhere) for thing in things] == [True, False, True]
    assert own.is_in(elsewhere), "what is here alone is no copy"
    assert there.bring(things[1]).is_dir()


def test_a_copy_that_a_run_works_on_stays_whatever_the_bound(stored: Stored, home: Path, elsewhere: Path) -> None:
    base, thing = make_model(home, "models/demo/base"), make_model(home, base="../base")
    for one in (base, thing):
        stored.shelf(home).keep(one)
    there, other = (stored.shelf(elsewhere, most_bytes=0) for _ in range(2))
    with there.using(thing):
        for one in (thing, base):
            age(there, one, 3600)
        assert other.make_room() == 0
        assert base.is_in(elsewhere), "an adapter's base comes with it"
    assert other.make_room() == 2
    assert not (elsewhere / NAME).exists()


def test_locks_are_taken_as_the_file_systems_of_networks_want_them(
    stored: Stored, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def as_over_nfs(file: BinaryIO, how: int) -> None:
        """Record locks in truth, by Linux: a shared one of who may read, the other of who may write."""
        opened = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if opened == (os.O_WRONLY if how & fcntl.LOCK_SH else os.O_RDONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", as_over_nfs)
    thing = make_model(home)
    shelf = stored.shelf(home)
    shelf.keep(thing)
    with shelf.using(thing):
        assert not shelf.copies.drop(thing)
    assert shelf.copies.drop(thing)
    (home / FOLDER / f"{shelf.copies._key(thing)}.part").mkdir()
    shelf.copies.sweep()
    assert not list((home / FOLDER).glob("*.part"))


def test_what_the_storage_has_lost_is_not_taken_away_here(stored: Stored, home: Path) -> None:
    thing = make_model(home)
    shelf = stored.shelf(home, most_bytes=0)
    shelf.keep(thing)
    age(shelf, thing, 3600)
    stored.remove(f"{NAME}/manifest.json")
    assert shelf.make_room() == 0
    assert thing.is_in(home)


def test_a_disk_without_room_refuses_a_copy_and_older_ones_make_room_first(
    stored: Stored, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = make_model(home)
    stored.shelf(home).keep(thing)
    with pytest.raises(NoRoom):
        stored.shelf(elsewhere, reserve_bytes=1 << 60).bring(thing)
    assert not (elsewhere / NAME).exists()


def test_a_disk_that_fills_up_half_way_leaves_nothing_of_a_copy(stored: Stored, home: Path, elsewhere: Path) -> None:
    thing = make_model(home, weights=b"w" * 100_000)
    stored.shelf(home).keep(thing)
    there = stored.shelf(elsewhere)
    with no_room_beyond(50_000), pytest.raises(OSError, match="File too large"):
        there.bring(thing)
    assert not (elsewhere / NAME).exists()
    assert not list((elsewhere / FOLDER).glob("*.part"))
    assert there.bring(thing).is_dir()


def test_a_storage_that_is_away_is_asked_about_one_copy_and_not_about_all(
    stored: Stored, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = stored.shelf(home, most_bytes=0)
    things = [make_model(home, f"models/demo/policy-run-{number}") for number in range(3)]
    for thing in things:
        shelf.keep(thing)
        age(shelf, thing, 3600)
    asked: list[Published] = []

    def away(_: Bucket, thing: Published) -> None:
        asked.append(thing)
        raise Away

    monkeypatch.setattr(Bucket, "find", away)
    assert (shelf.make_room(), len(asked)) == (0, 1)
    assert all(thing.is_in(home) for thing in things)


def test_a_storage_that_is_away_is_told_as_that_and_what_is_here_goes_on(
    stored: Stored, home: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = make_model(home)
    stored.shelf(home).keep(thing)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    assert stored.shelf(home).bring(thing) == home / NAME
    with pytest.raises(Away, match="The storage of models and datasets can't be used now: "):
        stored.shelf(elsewhere).bring(thing)


def test_what_lies_here_moves_to_the_storage_and_back_and_what_is_broken_is_named(
    stored: Stored, home: Path, elsewhere: Path
) -> None:
    things = [make_model(home, f"models/demo/policy-run-{number}") for number in range(3)]
    (home / things[1].path / "weights.bin").write_bytes(b"changed")
    lines: list[str] = []
    done = moving.to_storage(stored.shelf(home), things, lines.append)
    assert (done.things, done.there_before, len(done.problems)) == (2, 0, 1)
    assert "policy-run-1/weights.bin doesn't match" in done.problems[0]
    assert lines[-1].startswith("3 of 3, ")
    again = moving.to_storage(stored.shelf(home), things, lines.append)
    assert (again.things, again.there_before, len(again.problems)) == (0, 2, 1)
    back = moving.to_home(stored.shelf(elsewhere), things[::2], lines.append)
    assert (back.things, back.problems) == (2, [])
    assert contents(elsewhere / things[0].path)["weights.bin"] == WEIGHTS
    assert [key for key in stored.names() if "manifest" in key] == []
    assert stored.shelf(elsewhere, most_bytes=0).copies.all() == []


def test_a_copy_that_was_changed_here_is_made_anew(stored: Stored, home: Path) -> None:
    thing = make_model(home)
    shelf = stored.shelf(home)
    shelf.keep(thing)
    (home / NAME / "weights.bin").write_bytes(b"changed")
    assert shelf.heal(thing)
    assert contents(home / NAME)["weights.bin"] == WEIGHTS


def test_removal_takes_all_below_a_path_and_nothing_beside_it(stored: Stored, home: Path) -> None:
    shelf = stored.shelf(home)
    for path in ("models/demo/policy-run-1", "models/demo/policy-run-2", "models/demo-two/policy-run-1"):
        shelf.keep(make_model(home, path))
    shelf.remove("models/demo")
    assert {key.split("/")[1] for key in stored.names()} == {"demo-two"}
    assert httpx.get(stored.server).status_code == 200
