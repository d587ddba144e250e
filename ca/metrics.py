"""What the CA counts."""

from prometheus_client import CollectorRegistry, Counter


class Metrics:
    """The metrics of one CA, kept in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "podtls_ca_requests", "Requests by route and status.", ["route", "code"], registry=registry
        )
