"""What OpenSSL itself needs for the two operations of an issuance: a P-256 signature and its verification."""

import re
import subprocess

from lab.bench import processes
from lab.bench.errors import BenchError

# `-mr`: +F4:<number>:<bits>:<signatures a second>:<verifications a second>, by CPU time and not by the clock.
_RESULT = re.compile(r"^\+F4:\d+:256:([0-9.]+):([0-9.]+)$", re.MULTILINE)
_COMMAND = ("speed", "-seconds", "1", "-mr", "ecdsap256")


def sign_and_verify_us() -> float:
    """CPU microseconds of one signature and one verification; takes two seconds. Raises MissingError, BenchError."""
    command = [processes.program("openssl"), *_COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return parse(done.stdout)


def parse(output: str) -> float:
    """Microseconds from the machine-readable output of `openssl speed`. Raises BenchError."""
    found = _RESULT.search(output)
    if found is None:
        raise BenchError(f"openssl speed: no line of ecdsap256 in {output!r}")
    signatures, verifications = map(float, found.groups())
    return 1e6 / signatures + 1e6 / verifications
