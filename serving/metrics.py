"""What Prometheus reads. With several workers the values live in files that all of them share.

gunicorn.py switches that on, so that a counter does not depend on which worker responds. What is counted is
each program's own: webhook/metrics.py, ca/metrics.py.
"""

from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render_metrics(registry: CollectorRegistry, shared_directory: str | None) -> bytes:
    """Returns all values in the text format: of all workers in `shared_directory`; None for a single process."""
    if shared_directory is None:
        return generate_latest(registry)
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=shared_directory)  # type: ignore[no-untyped-call]
    return generate_latest(shared)
