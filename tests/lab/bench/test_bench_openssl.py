"""Reading `openssl speed`."""

import pytest

from lab.bench import openssl
from lab.bench.errors import BenchError


def test_the_share_is_a_signature_and_a_verification() -> None:
    output = "+DTP:256:sign:ecdsa:1\n+R5:20000:256:0.99\n+F4:3:256:50000.000000:12500.000000\n"

    share = openssl.parse(output)

    assert share == pytest.approx(20 + 80)


def test_output_without_the_curve_is_refused() -> None:
    with pytest.raises(BenchError, match="no line of ecdsap256 in"):
        openssl.parse("+F4:3:384:1000.0:500.0\n")
