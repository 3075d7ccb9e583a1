"""A server on this machine that has files and repositories, and does wrong what it is told to do wrong.

It speaks as much of a model hub's API as the real ``huggingface_hub`` asks for.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from framelane.models import download, files

WEIGHTS = bytes(range(256)) * 9000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG, PREPROCESSOR = b'{"model_type": "planted"}', b'{"size": 1}'
CONTENT = {"config.json": CONFIG, "preprocessor_config.json": PREPROCESSOR, "model.safetensors": WEIGHTS}
COMMIT = "c0ffee" * 6 + "c0de"
REPO = "planted/model"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        shop = self.server.shop
        path = self.path.split("?")[0]
        shop.asked.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        if path in shop.moved:
            self.send_response(302)
            self.send_header("Location", shop.moved[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path not in shop.files:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"} if path.startswith("/api/") else {})
        elif shop.busy:
            shop.busy -= 1
            self.answer(503, b"")
        else:
            self.send_file(shop, shop.files[path])

    def send_file(self, shop, body):
        first = 0
        if (span := self.headers.get("Range")) and shop.ranges:
            first = int(span.removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if first else {}
        cut = shop.cuts.pop(0) if shop.cuts and len(body) > 1000 else None
        self.answer(206 if first else 200, body[first:], headers, cut)

    def answer(self, status, body, headers=(), cut=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A server with one file and one repository; what it is told to do wrong is in its attributes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    server.shop = shop = SimpleNamespace(
        address=address, files={"/w.pth": WEIGHTS}, moved={}, cuts=[], busy=0, ranges=True, asked=[]
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_seen", {})
    monkeypatch.setattr(download, "_PAUSES", (0, 0, 0))
    monkeypatch.setenv("HF_ENDPOINT", address)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    stock(shop)
    yield shop
    server.shutdown()
    server.server_close()
    thread.join()


def stock(shop, repo=REPO, content=CONTENT, **changed):
    """Put a repository on the shelf; ``changed`` replaces what the hub says of its weights."""
    siblings = []
    for name, body in content.items():
        blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        sibling = {"rfilename": name, "size": len(body), "blobId": blob}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(body).hexdigest()
            sibling["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 134, **changed}
        siblings.append(sibling)
        shop.files[f"/{repo}/resolve/{COMMIT}/{name}"] = body
    describe(shop, siblings, repo)
    return siblings


def describe(shop, siblings, repo=REPO):
    """What the hub says of a repository."""
    data = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}
    shop.files[f"/api/models/{repo}/revision/main"] = json.dumps(data).encode()
