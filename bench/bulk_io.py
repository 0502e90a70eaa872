"""How fast and in how much memory files come in and dataset versions are cut and exported, and how long annotators wait
meanwhile.

    python -m bench.bulk_io [--rows 10000,100000,1000000] [--home DIR] [--alone] [--exports WHAT …]
    python -m bench.bulk_io --written [--exports Parquet JSONL CSV] [--label-studio 10000,50000]

A site of its own takes JSON Lines of prompt, chosen and rejected by `plumbline import`, while four annotators fetch and
answer tasks of another project over the API; then `plumbline dataset cut` writes a version of them, and `plumbline
export` what can be taken away of it. Beside it, in the same server: COPY of the same texts into and out of one table
without an index, which is what PostgreSQL can do at most. Label Studio's import of pairs was measured before on an idle
machine of two cores; with `--label-studio` it exports as many judged pairs of the same texts over HTTP, on a server and
database of its own (`make peers`). Prints two tables and, last, one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psycopg

from app.db.embedded import EmbeddedPostgres
from app.services.data.datasets import sha256_of
from app.simulation.site import Site
from bench.label_studio import LabelStudio, running_label_studio
from bench.load_client import Seen, Target, run_clients
from bench.load_site import SLUG, LoadedSite, Processes, loaded_site
from bench.web_load import percentile

ANNOTATORS = 4
THINKING_SECONDS = 0.5
WINDOW_SECONDS = 10.0
OPEN_TASKS = 20_000
LABEL_STUDIO_ROWS_PER_SECOND = 2_250
GOALS = {"seconds": 60.0, "megabytes": 300.0, "next_p99_ms": 200.0, "parquet_seconds": 30.0}
EXPORTS = {
    "Parquet": ("--format", "parquet"),
    "JSONL": ("--format", "jsonl"),
    "CSV": ("--format", "csv"),
    "soft labels": ("--format", "parquet", "--votes", "soft"),
    "a filter": ("--format", "parquet", "--since", "2020-01-01"),
    "judgements": ("--format", "parquet", "--schema", "judgements"),
}
"""What is exported, by what it is called; the first is what the goal is about."""
PLUMBLINE = str(Path(sys.executable).with_name("plumbline"))
FILLER = "The quick brown fox jumps over the lazy dog and goes home to rest a little. " * 4

TEXTS = """
    INSERT INTO texts
    SELECT 'Question ' || i || ' of ' || %(rows)s || ': ' || %(filler)s, 'Answer ' || i || E' a\\n' || %(filler)s,
        'Answer ' || i || ' b ' || %(filler)s
    FROM generate_series(1, %(rows)s::int) i
"""


@dataclass(frozen=True)
class Point:
    """One size. Memory is what the command took beyond what it takes for one row, and the most that one process of the
    database had. Processor time tells more than `seconds` where the machine does other things, too."""

    rows: int
    seconds: float
    rows_per_second: float
    cpu_seconds: float
    database_cpu_seconds: float
    megabytes: float
    database_megabytes: float
    copy_seconds: float
    next_p50_ms: float | None
    next_p99_ms: float | None
    cut_seconds: float
    cut_megabytes: float


@dataclass(frozen=True)
class Taken:
    """One export of one size. `megabytes` are beyond what the same of one row takes."""

    rows: int
    what: str
    seconds: float
    rows_per_second: float
    cpu_seconds: float
    database_cpu_seconds: float
    megabytes: float
    file_megabytes: float
    copy_out_seconds: float | None


@dataclass(frozen=True)
class Done:
    """A command that ran: how long, what of the processors, and the most memory that it and the database's process for
    it took."""

    seconds: float
    cpu_seconds: float
    database_cpu_seconds: float
    megabytes: float
    database_megabytes: float


class Bench:
    def __init__(self, loaded: LoadedSite, folder: Path, exports: list[str], *, is_alone: bool) -> None:
        self._loaded = loaded
        self._folder = folder
        self._is_alone = is_alone
        self._environment = {
            **os.environ,
            "PLUMBLINE_HOME": str(loaded.site.home),
            "DATABASE_URL": loaded.site.database_url,
        }
        one = self._write(1)
        self._idle = self._run("import", str(one), "-p", "one", "--create")
        self._idle_cut = self._run("dataset", "cut", "-p", "one")
        self._idle_exports = {what: self._export("one", EXPORTS[what]) for what in exports}
        self._copied_out = 0.0
        self._project = "one"

    def point(self, rows: int) -> Point:
        file = self._write(rows)
        copied = self._copy(file)
        self._project = f"rows-{rows}"
        with self._annotators() as seen:
            done = self._run("import", str(file), "-p", self._project, "--create")
        cut = self._run("dataset", "cut", "-p", self._project)
        file.unlink()
        return Point(
            rows=rows,
            seconds=round(done.seconds, 2),
            rows_per_second=round(rows / done.seconds, 1),
            cpu_seconds=round(done.cpu_seconds, 2),
            database_cpu_seconds=round(done.database_cpu_seconds, 2),
            megabytes=round(done.megabytes - self._idle.megabytes, 1),
            database_megabytes=round(done.database_megabytes, 1),
            copy_seconds=round(copied, 2),
            next_p50_ms=percentile(seen.next_ms, 0.5),
            next_p99_ms=percentile(seen.next_ms, 0.99),
            cut_seconds=round(cut.seconds, 2),
            cut_megabytes=round(cut.megabytes - self._idle_cut.megabytes, 1),
        )

    def written(self, rows: int) -> None:
        """Make of the version of one row one of so many by its file: the database knows nothing of them."""
        with psycopg.connect(self._loaded.site.database_url) as connection:
            self._copied_out = self._copy_out(connection, rows)
            (path,) = connection.execute("SELECT path FROM dataset_versions ORDER BY id DESC").fetchone()
            version = self._loaded.site.home / path
            with version.open("rb") as lines:
                record = json.loads(next(lines))
            with version.open("w", encoding="utf-8") as lines:
                for number in range(rows):
                    texts = pair(number, rows)
                    record["prompt"][0]["content"] = texts["prompt"]
                    record |= {"response_a": texts["chosen"], "response_b": texts["rejected"]}
                    record |= {"prompt_id": str(number + 1), "source": f"judgement:{number + 1}"}
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            connection.execute("SET session_replication_role = replica")  # versions never change
            changed = "UPDATE dataset_versions SET sha256 = %s, row_count = %s WHERE path = %s"
            connection.execute(changed, [sha256_of(version), rows, path])

    def _copy_out(self, connection: psycopg.Connection, rows: int) -> float:
        """Seconds of COPY alone, of the texts of `pair`."""
        connection.execute("CREATE TEMPORARY TABLE texts (prompt text, chosen text, rejected text)")
        connection.execute(TEXTS, {"rows": rows, "filler": FILLER})
        begun = time.monotonic()
        copying = connection.cursor().copy("COPY texts TO STDOUT")
        with self._exported.open("wb") as file, copying as copy:
            for content in copy:
                file.write(content)
        seconds = time.monotonic() - begun
        connection.execute("DROP TABLE texts")
        self._exported.unlink()
        return seconds

    def taken(self, rows: int) -> Iterator[Taken]:
        """The exports of a size that `point` or `written` has made."""
        for what, idle in self._idle_exports.items():
            done = self._export(self._project, EXPORTS[what])
            yield Taken(
                rows=rows,
                what=what,
                seconds=round(done.seconds, 2),
                rows_per_second=round(rows / done.seconds, 1),
                cpu_seconds=round(done.cpu_seconds, 2),
                database_cpu_seconds=round(done.database_cpu_seconds, 2),
                megabytes=round(done.megabytes - idle.megabytes, 1),
                file_megabytes=round(self._exported.stat().st_size / 2**20, 1),
                copy_out_seconds=round(self._copied_out, 2),
            )
            self._exported.unlink()

    @property
    def _exported(self) -> Path:
        return self._folder / "exported"

    def _export(self, project: str, options: tuple[str, ...]) -> Done:
        return self._run("export", "-p", project, "-o", str(self._exported), *options)

    def _write(self, rows: int) -> Path:
        file = self._folder / f"{rows}.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for number in range(rows):
                lines.write(json.dumps(pair(number, rows)) + "\n")
        return file

    def _copy(self, file: Path) -> float:
        """Seconds of COPY alone; the texts are turned into its form before."""
        ready = file.with_suffix(".copy")
        with file.open("rb") as lines, ready.open("wb") as texts:
            for line in lines:
                row = json.loads(line)
                texts_of = (row[name].replace("\n", "\\n") for name in ("prompt", "chosen", "rejected"))
                texts.write("\t".join(texts_of).encode() + b"\n")
        with psycopg.connect(self._loaded.site.database_url) as connection:
            connection.execute("CREATE TABLE copied (prompt text, chosen text, rejected text)")
            connection.commit()
            begun = time.monotonic()
            with ready.open("rb") as texts, connection.cursor().copy("COPY copied FROM STDIN") as copy:
                while content := texts.read(1 << 20):
                    copy.write(content)
            connection.commit()
            seconds = time.monotonic() - begun
            begun = time.monotonic()
            with ready.open("wb") as texts, connection.cursor().copy("COPY copied TO STDOUT") as copy:
                for content in copy:
                    texts.write(content)
            self._copied_out = time.monotonic() - begun
            connection.execute("DROP TABLE copied")
        ready.unlink()
        return seconds

    def _run(self, *arguments: str) -> Done:
        database = Processes(self._loaded.site.home / "postgres", "postgres")
        before, begun = database.cpu_seconds(), time.monotonic()
        command = [PLUMBLINE, *arguments]
        process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL)
        most = 0.0
        sampled = threading.Event()

        def sample() -> None:
            nonlocal most
            while not sampled.wait(0.2):
                most = max(most, _backend_megabytes(self._loaded.site.home))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, database_cpu = time.monotonic() - begun, database.cpu_seconds() - before
        sampled.set()
        sampler.join()
        if process.returncode:
            raise SystemExit(f"plumbline {' '.join(arguments)} ended with {process.returncode}")
        return Done(seconds, usage.ru_utime + usage.ru_stime, database_cpu, usage.ru_maxrss / 1024, most)

    @contextmanager
    def _annotators(self) -> Iterator[Seen]:
        """They work for as long as the block does, and to the end of a window."""
        if self._is_alone:
            yield Seen()
            return
        target = Target("api", self._loaded.port, SLUG, tuple(each.api_token for each in self._loaded.people["api"]))
        seen = Seen()
        is_over = threading.Event()

        def work() -> None:
            while not is_over.is_set():
                part = run_clients(
                    target,
                    annotators=ANNOTATORS,
                    seconds=WINDOW_SECONDS,
                    think=THINKING_SECONDS,
                    begins=lambda *_: None,
                )
                seen.next_ms += part.next_ms
                seen.submit_ms += part.submit_ms

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield seen
        finally:
            is_over.set()
            worker.join()


def pair(number: int, rows: int) -> dict[str, str]:
    return {
        "prompt": f"Question {number} of {rows}: {FILLER}",
        "chosen": f"Answer {number} a\n{FILLER}",
        "rejected": f"Answer {number} b {FILLER}",
    }


def _judged(number: int, rows: int) -> dict[str, Any]:
    """A pair as Label Studio takes it in."""
    texts = pair(number, rows)
    chosen = {"from_name": "c", "to_name": "a,b", "type": "pairwise", "value": {"selected": "left"}}
    data = {"prompt": texts["prompt"], "a": texts["chosen"], "b": texts["rejected"]}
    return {"data": data, "annotations": [{"result": [chosen]}]}


def exported_by(peer: LabelStudio, rows: int, form: str) -> Taken:
    """`megabytes` are what its process grew beyond what it had before; who fetches the file has none of it."""
    project = peer.make_project(_judged(number, rows) for number in range(rows))
    program, database = Processes(peer.folder, "gunicorn"), Processes(peer.folder, "postgres")
    file = peer.folder / "exported"
    idle, cpu, database_cpu, begun = (
        peer.megabytes("VmRSS"), program.cpu_seconds(), database.cpu_seconds(), time.monotonic()
    )  # fmt: skip
    peer.export(project, form, file)
    seconds = time.monotonic() - begun
    return Taken(
        rows=rows,
        what=f"Label Studio, {form}",
        seconds=round(seconds, 2),
        rows_per_second=round(rows / seconds, 1),
        cpu_seconds=round(program.cpu_seconds() - cpu, 2),
        database_cpu_seconds=round(database.cpu_seconds() - database_cpu, 2),
        megabytes=round(peer.megabytes("VmHWM") - idle, 1),
        file_megabytes=round(file.stat().st_size / 2**20, 1),
        copy_out_seconds=None,
    )


@contextmanager
def database_alone(home: Path) -> Iterator[LoadedSite]:
    """What commands need: no page, no worker and no annotators."""
    database = EmbeddedPostgres(home)
    url = database.start()
    try:
        subprocess.run([PLUMBLINE, "db", "upgrade"], env=os.environ | {"PLUMBLINE_HOME": str(home)}, check=True)
        yield LoadedSite(Site(home, "", url), {})
    finally:
        database.stop()


def _backend_megabytes(home: Path) -> float:
    """The most memory of its own that any process of the site's PostgreSQL has."""
    most = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if (process / "cwd").readlink().is_relative_to(home / "postgres"):
                status = (process / "status").read_text()
                most = max(most, int(status.partition("RssAnon:")[2].split()[0]) / 1024)
    return most


def _told(taken: Taken) -> Taken:
    """It itself, once it is told: a run of an hour that breaks off has said what it measured."""
    print(taken, file=sys.stderr, flush=True)
    return taken


def _heading(kind: type[Point] | type[Taken]) -> None:
    print(f"| {' | '.join(field.name for field in fields(kind))} |")
    print("|---" * len(fields(kind)) + "|")


def _line(measured: Point | Taken) -> None:
    print(f"| {' | '.join(str(value) for value in asdict(measured).values())} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--exports", nargs="+", choices=EXPORTS, default=list(EXPORTS), metavar="WHAT")
    parser.add_argument("--alone", action="store_true", help="nobody answers tasks while files come in")
    parser.add_argument("--written", action="store_true", help="exports alone, of versions that are no imports")
    parser.add_argument("--label-studio", default="", metavar="ROWS", help="how many Label Studio exports, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-bulk-") as folder:
        home = (asked.home or Path(folder) / "home").resolve()
        tasks = 0 if asked.alone else OPEN_TASKS
        with database_alone(home) if asked.written else loaded_site(home, tasks) as loaded:
            bench = Bench(loaded, Path(folder), asked.exports, is_alone=asked.alone)
            points, exports = [], []
            _heading(Point)
            for rows in map(int, asked.rows.split(",")):
                if asked.written:
                    bench.written(rows)
                else:
                    points.append(bench.point(rows))
                    _line(points[-1])
                exports += map(_told, bench.taken(rows))
    if asked.label_studio:
        with running_label_studio() as peer:
            exports += [_told(exported_by(peer, int(rows), "JSON")) for rows in asked.label_studio.split(",")]
    _heading(Taken)
    for taken in exports:
        _line(taken)
    last = points[-1] if points else None
    print(
        json.dumps(
            {
                "bench": "bulk_io",
                "ratio": last and round(last.rows_per_second / LABEL_STUDIO_ROWS_PER_SECOND, 2),
                "goal": GOALS,
                "of_copy": last and round(last.copy_seconds / last.seconds, 3),
                "ratio_of_exports": _over_label_studio(exports),
                "points": [asdict(point) for point in points],
                "exports": [asdict(taken) for taken in exports],
            }
        )
    )


def _over_label_studio(exports: list[Taken]) -> float | None:
    """Rows a second as Parquet over Label Studio's, of the largest number that both exported."""
    rate = {(taken.rows, taken.what): taken.rows_per_second for taken in exports}
    both = [rows for rows, what in rate if what == "Parquet" and (rows, "Label Studio, JSON") in rate]
    return round(rate[max(both), "Parquet"] / rate[max(both), "Label Studio, JSON"], 1) if both else None


if __name__ == "__main__":
    main()
