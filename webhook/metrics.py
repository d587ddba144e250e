"""What Prometheus reads: counts of decisions and of answers that are no 200, and how long admissions took.

With several workers the values live in files that all of them share (prometheus_client's multiprocess mode, which
gunicorn_conf.py switches on), so that a counter does not depend on which worker happens to answer.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one webhook. `shared_directory` is where its workers keep them, None for a single process."""

    def __init__(self, shared_directory: str | None = None) -> None:
        self._registry = CollectorRegistry()
        self._shared_directory = shared_directory
        self.decisions = Counter(
            "podtls_admissions", "Reviews that were decided.", ["decision", "mode"], registry=self._registry
        )
        self.failures = Counter(
            "podtls_failed_requests", "Answers other than 200, by status.", ["code"], registry=self._registry
        )
        self.seconds = Histogram(
            "podtls_admission_seconds", "From body to answer.", buckets=_BUCKETS, registry=self._registry
        )

    def exposition(self) -> bytes:
        """Returns all values in the text format."""
        if self._shared_directory is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._shared_directory)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
