"""Annotators as raw HTTP over one connection each: what a browser or a program sends, and nothing that takes time.

`run_clients` runs them in processes of their own and adds up what they saw and the processor time that they used, so
that a client that was the bottleneck shows itself.
"""

import asyncio
import json
import math
import random
import re
import secrets
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["page", "api", "bare", "label-studio"]

CLIENT_PROCESSES = 2
WARM_UP_SECONDS = 1.0
REQUEST_SECONDS = 60.0

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
GZIPPED = re.compile(rb"\r\ncontent-encoding: *gzip", re.IGNORECASE)
ASSIGNMENT = re.compile(rb'data-assignment="(\d+)"')
KEY = re.compile(rb'name="idempotency_key" value="([^"]+)"')
VERSION = re.compile(rb'name="client_version" value="([^"]*)"')


@dataclass(frozen=True)
class Target:
    """Where to send requests and as whom; `secrets` has one cookie, token or number for each annotator."""

    kind: Kind
    port: int
    project: str
    secrets: tuple[str, ...]


@dataclass
class Seen:
    """Latencies in milliseconds. On a page one POST is both: it saves the answer and brings the task after the next."""

    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    client_cpu_seconds: float = 0.0


class NothingLeft(RuntimeError):
    """There is no task for the annotator."""


class Connection:
    """HTTP/1.1 with keep-alive, one request at a time."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, path: str, body: str = "", content_type: str = "application/json", **headers: str
    ) -> tuple[int, bytes]:
        if self._reader is not None and self._reader.at_eof():  # kept alive for some seconds only, as a browser knows
            self.close()
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        if body:
            more += f"Content-Type: {content_type}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{self._headers}{more}"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        async with asyncio.timeout(REQUEST_SECONDS):
            answer = await self._reader.readuntil(b"\r\n\r\n")
            content = await self._content(self._reader, answer)
        if b"\r\nconnection: close" in answer.lower():
            self.close()
        return int(answer[9:12]), zlib.decompress(content, 31) if GZIPPED.search(answer) and content else content

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _content(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        length = LENGTH.search(head)
        if length:
            return await reader.readexactly(int(length[1]))
        if not CHUNKED.search(head):
            return b""
        content = bytearray()
        while size := int(await reader.readline(), 16):
            content += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return bytes(content)


class Annotator:
    """Answers as fast as it can, or after thinking; counts only what began after the warm-up."""

    def __init__(self, target: Target, secret: str, seen: Seen, *, think: float) -> None:
        self.target, self.secret, self.seen, self.think = target, secret, seen, think
        self.begin = self.end = math.inf
        self.connection = Connection(target.port, self.headers())

    def headers(self) -> dict[str, str]:
        return {}

    async def work(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        try:
            await asyncio.sleep(random.random() * self.think)
            while time.monotonic() < self.end:
                await self.cycle()
        finally:
            self.connection.close()

    async def arrive(self) -> None:
        """What comes before the first cycle."""

    async def cycle(self) -> None:
        raise NotImplementedError

    async def pause(self) -> None:
        if self.think:
            await asyncio.sleep(self.think)

    async def timed(
        self, into: list[float], method: str, path: str, body: str = "", expects: int = 200, **more: str
    ) -> bytes:
        began = time.monotonic()
        status, content = await self.connection.request(method, path, body, **more)
        took = time.monotonic() - began
        if status != expects:
            raise RuntimeError(f"{method} {path} answered {status}: {content[:300]!r}")
        if self.begin <= began and began + took <= self.end:
            into.append(took * 1000)
        return content


class PageAnnotator(Annotator):
    """A browser on the annotate page: it shows the task that it fetched ahead, and sends the answer beside that."""

    def headers(self) -> dict[str, str]:
        return {
            "Cookie": f"session={self.secret}",
            "HX-Request": "true",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate, br",
            "Accept-Language": "en-US,en;q=0.9",
            "Sec-Fetch-Site": "same-origin",
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36",
        }

    async def arrive(self) -> None:
        home = f"/projects/{self.target.project}/annotate"
        self.shown, self.ahead = [_pair(await self.timed([], "GET", f"{home}/{which}")) for which in ("next", "ahead")]

    async def cycle(self) -> None:
        await self.pause()
        assignment, key, version = self.shown
        form = (
            f"answer_type=seven&size=2&idempotency_key={key}&client_version={version}&first_action_ms=900"
            f"&active_ms=2000&visits=1&hurried=false&choice=3&shown={self.ahead[0]}"
        )
        path = f"/projects/{self.target.project}/assignments/{assignment}/judgement"
        kind = "application/x-www-form-urlencoded"
        content = await self.timed(self.seen.submit_ms, "POST", path, form, content_type=kind)
        self.shown, self.ahead = self.ahead, _pair(content)


class ProgramAnnotator(Annotator):
    """Takes a task by one request and answers it by another."""

    def next_path(self) -> str:
        raise NotImplementedError

    def answer(self, task: dict[str, Any], key: str) -> tuple[str, str]:
        """Path and body."""
        raise NotImplementedError

    async def cycle(self) -> None:
        task = json.loads(await self.timed(self.seen.next_ms, "GET", self.next_path()))
        await self.pause()
        key = secrets.token_urlsafe(16)
        path, body = self.answer(task, key)
        await self.timed(self.seen.submit_ms, "POST", path, body, expects=201, Idempotency_Key=key)


class ApiAnnotator(ProgramAnnotator):
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def next_path(self) -> str:
        return f"/api/v1/projects/{self.target.project}/next-task"

    def answer(self, task: dict[str, Any], key: str) -> tuple[str, str]:
        return f"/api/v1/assignments/{task['assignment_id']}/judgements", '{"choice": 3}'


class BareAnnotator(ProgramAnnotator):
    def next_path(self) -> str:
        return f"/next?annotator={self.secret}"

    def answer(self, task: dict[str, Any], key: str) -> tuple[str, str]:
        return "/submit", json.dumps({"assignment": task["assignment"], "choice": 3, "key": key})


class LabelStudioAnnotator(ProgramAnnotator):
    ANSWER = json.dumps(
        {"result": [{"from_name": "c", "to_name": "a,b", "type": "pairwise", "value": {"selected": "left"}}]}
    )

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.secret}"}

    def next_path(self) -> str:
        return f"/api/projects/{self.target.project}/next"

    def answer(self, task: dict[str, Any], key: str) -> tuple[str, str]:
        return f"/api/tasks/{task['id']}/annotations/", self.ANSWER


ANNOTATORS: dict[Kind, type[Annotator]] = {
    "page": PageAnnotator,
    "api": ApiAnnotator,
    "bare": BareAnnotator,
    "label-studio": LabelStudioAnnotator,
}


def _pair(html: bytes) -> tuple[str, str, str]:
    found = [pattern.search(html) for pattern in (ASSIGNMENT, KEY, VERSION)]
    if not all(found):
        raise NothingLeft(f"no pair in {html[:300]!r}")
    assignment, key, version = (match[1].decode() for match in found if match)
    return assignment, key, version


def run_clients(
    target: Target, *, annotators: int, seconds: float, think: float, begins: Callable[[float, float], None]
) -> Seen:
    """What so many annotators saw in `seconds`. `begins` is told the moments of the monotonic clock between which it
    counts: the first comes when all have a task on the desk and have worked for a little while.
    """
    processes = min(CLIENT_PROCESSES, annotators)
    started = []
    for place in range(processes):
        share = target.secrets[:annotators][place::processes]
        order = json.dumps([asdict(target) | {"secrets": share}, think])
        command = [sys.executable, "-m", "bench.load_client", order]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    begin = time.monotonic() + WARM_UP_SECONDS + think
    begins(begin, begin + seconds)
    moments = json.dumps([begin, begin + seconds]).encode() + b"\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(moments)
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a client failed")
    parts = [Seen(**json.loads(output)) for output in outputs]
    return Seen(
        [took for part in parts for took in part.next_ms],
        [took for part in parts for took in part.submit_ms],
        sum(part.client_cpu_seconds for part in parts),
    )


async def _work(target: Target, think: float) -> Seen:
    seen = Seen()
    kind = ANNOTATORS[target.kind]
    people = [kind(target, secret, seen, think=think) for secret in target.secrets]
    await asyncio.gather(*(person.arrive() for person in people))
    print("ready", flush=True)
    begin, end = json.loads(await asyncio.to_thread(sys.stdin.readline))
    cpu = asyncio.create_task(_cpu_between(begin, end))
    await asyncio.gather(*(person.work(begin, end) for person in people))
    seen.client_cpu_seconds = await cpu
    return seen


async def _cpu_between(begin: float, end: float) -> float:
    await asyncio.sleep(begin - time.monotonic())
    before = time.process_time()
    await asyncio.sleep(end - time.monotonic())
    return time.process_time() - before


def main() -> None:
    target, think = json.loads(sys.argv[1])
    print(json.dumps(asdict(asyncio.run(_work(Target(**target), think)))))


if __name__ == "__main__":
    main()
