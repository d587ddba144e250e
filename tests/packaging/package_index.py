"""A package index (PEP 503) on loopback that offers version 9999 of every project beside the wheels of a folder.

It is what the real index will be one day: each package that we pin has a newer release. Nothing here knows our locks.
"""

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

NEWER = "9999"


@contextmanager
def serve_index(wheels: Path) -> Iterator[str]:
    """Serve the wheels of the folder, and a newer one of whatever is asked for; the URL for PIP_INDEX_URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, wheels)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """GET /simple/PROJECT/ and GET /wheels/FILE."""

    protocol_version = "HTTP/1.1"

    def __init__(self, wheels: Path, *arguments: Any) -> None:
        self._wheels = wheels
        super().__init__(*arguments)

    def do_GET(self) -> None:
        folder, _, name = self.path.strip("/").partition("/")
        if folder == "simple" and name:
            self._send("text/html", _project_page(self._wheels, name).encode())
        elif folder == "wheels" and name.endswith(f"-{NEWER}-py3-none-any.whl"):
            self._send("application/octet-stream", _newer_wheel(name))
        elif folder == "wheels" and (self._wheels / name).is_file():
            self._send("application/octet-stream", (self._wheels / name).read_bytes())
        else:
            self.send_error(404)

    def _send(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _project_page(wheels: Path, project: str) -> str:
    files = [file.name for file in wheels.glob("*.whl") if canonicalize_name(file.name.split("-")[0]) == project]
    files.append(f"{project.replace('-', '_')}-{NEWER}-py3-none-any.whl")
    links = "".join(f'<a href="/wheels/{file}">{file}</a>\n' for file in files)
    return f"<!DOCTYPE html><html><body>\n{links}</body></html>"


def _newer_wheel(file: str) -> bytes:
    """A wheel with metadata and nothing else."""
    name = file.split("-", maxsplit=1)[0]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        information = f"{name}-{NEWER}.dist-info"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {NEWER}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return content.getvalue()
