"""The trust bundle that goes into every injected Pod: parsed, and read again when its file changes. No policy."""

import threading
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.errors import TrustBundleError
from webhook.settings import PodSettings

# Every Pod carries the bundle twice, and etcd takes objects of 1.5 MiB: far more than a few roots is a mistake.
_MAX_BYTES = 64 * 1024


def parse_bundle(pem: bytes) -> str:
    """Returns the certificates in `pem` as PEM and nothing else of it, lest a key that strayed in be published.

    Raises TrustBundleError when there is no certificate, or one that does not parse.
    """
    if len(pem) > _MAX_BYTES:
        raise TrustBundleError(f"trust bundle: {len(pem)} bytes, expected at most {_MAX_BYTES}")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TrustBundleError(f"trust bundle: expected PEM certificates: {error}") from error
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)


class CurrentPodSettings:
    """PodSettings with the bundle as its file is now: looked at each time, read again when it is another one."""

    def __init__(self, settings: PodSettings, file: Path) -> None:
        self._settings = settings
        self._file = file
        self._lock = threading.Lock()
        self._seen: tuple[tuple[int, int, int], PodSettings] | None = None

    def get(self) -> PodSettings:
        """Raises TrustBundleError naming the file when it cannot be read, or holds no certificate."""
        try:
            status = self._file.stat()
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
            with self._lock:
                if self._seen is None or self._seen[0] != identity:
                    self._seen = (identity, replace(self._settings, trust_bundle=parse_bundle(self._file.read_bytes())))
                return self._seen[1]
        except OSError as error:
            raise TrustBundleError(f"trust bundle {self._file}: {error.strerror or error}") from error
