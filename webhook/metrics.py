"""What the webhook counts: decisions, responses other than 200, and how long admissions took."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one webhook, kept in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter(
            "podtls_admissions", "Reviews that were decided.", ["decision", "mode"], registry=registry
        )
        self.failures = Counter(
            "podtls_failed_requests", "Answers other than 200, by status.", ["code"], registry=registry
        )
        self.seconds = Histogram(
            "podtls_admission_seconds", "From body to answer.", buckets=_BUCKETS, registry=registry
        )
