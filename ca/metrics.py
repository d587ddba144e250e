"""What Prometheus reads of the CA. With several workers the values live in files that all share (gunicorn_conf.py)."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one CA. `shared_directory` is where its workers keep them, None for a single process."""

    def __init__(self, shared_directory: str | None = None) -> None:
        self._registry = CollectorRegistry()
        self._shared_directory = shared_directory
        self.requests = Counter(
            "podtls_ca_requests", "Requests by route and status.", ["route", "code"], registry=self._registry
        )

    def exposition(self) -> bytes:
        """All values in Prometheus' text format."""
        if self._shared_directory is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._shared_directory)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
