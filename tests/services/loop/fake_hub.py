"""The routes of a hub that pushing a model asks, on the loopback, with what was pushed in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_secret"


@dataclass
class FakeHub:
    """What is in its repositories. Files that are not text come as large ones, by their digest."""

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    refuses: bool = False


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_PUT(self) -> None:
            digest = self.path.rsplit("/", 1)[-1]
            content = self._body()
            assert hashlib.sha256(content).hexdigest() == digest
            hub.blobs[digest] = content
            self._say({})

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("authorization", ""))
            path = urlsplit(self.path).path
            body = self._body()
            if hub.refuses:
                self._say({"error": "You are not of this organisation"}, 403)
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":
                assert json.loads(body)["content"].startswith("---\n")
                self._say({"warnings": [], "errors": []})
            elif path.endswith("/preupload/main"):
                files = json.loads(body)["files"]
                self._say(
                    {"files": [{**file, "uploadMode": _mode(file["path"]), "shouldIgnore": False} for file in files]}
                )
            elif path.endswith("/info/lfs/objects/batch"):
                self._batch(json.loads(body))
            elif path.endswith("/commit/main"):
                self._commit("/".join(path.split("/")[3:5]), body)
            else:
                self._say({"error": f"no route {path}"}, 404)

        def _create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            is_new = name not in hub.repositories
            hub.repositories.setdefault(name, {})
            hub.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
            self._say({"url": f"{hub.address}/{name}"}, 200 if is_new else 409)

        def _batch(self, asked: dict[str, Any]) -> None:
            objects = []
            for one in asked["objects"]:
                href = f"{hub.address}/blobs/{one['oid']}"
                actions = {} if one["oid"] in hub.blobs else {"actions": {"upload": {"href": href, "header": {}}}}
                objects.append({**one, **actions})
            self._say({"transfer": "basic", "objects": objects})

        def _commit(self, name: str, body: bytes) -> None:
            for line in body.splitlines():
                told = json.loads(line)
                value = told["value"]
                if told["key"] == "file":
                    hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
                elif told["key"] == "lfsFile":
                    hub.repositories[name][value["path"]] = hub.blobs[value["oid"]]
            self._say({"success": True, "commitOid": "0" * 40, "commitUrl": f"{hub.address}/{name}/commit/{'0' * 40}"})

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _say(self, answer: object, status: int = 200) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _mode(path: str) -> str:
    return "regular" if path.endswith((".md", ".json", ".jinja")) else "lfs"
