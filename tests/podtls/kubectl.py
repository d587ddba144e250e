"""What the real kubectl makes of a stream, without a cluster."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

_KUBECTL: Final = Path(sys.executable).with_name("kubectl")


def read_by_kubectl(stream: str) -> list[Any]:
    """Return the objects that kubectl reads, without the annotation that this needs."""
    read = subprocess.run(
        [_KUBECTL, "annotate", "--local", "-f", "-", "read-by=kubectl", "-o", "json"],
        input=stream.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (read.returncode, read.stderr) == (0, b""), read.stderr
    objects, text, decoder = [], read.stdout.decode().lstrip(), json.JSONDecoder()
    while text:
        value, end = decoder.raw_decode(text)
        del value["metadata"]["annotations"]["read-by"]
        if not value["metadata"]["annotations"]:
            del value["metadata"]["annotations"]
        objects.append(value)
        text = text[end:].lstrip()
    return objects
