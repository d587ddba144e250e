"""What others think of our certificates: pkilint's PKIX lints, and OpenSSL's path validation with name constraints."""

import json
import subprocess
import sys
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority.authority import Authority, Template, sign
from ca.authority.leaf import LeafNames, issue
from tests.ca.world import IDENTITY, NOW

NAMES = LeafNames(IDENTITY, ("10-1-2-3.shop.pod.cluster.local", "payments.shop.svc", "payments.shop.svc.cluster.local"))
DAY = timedelta(days=1)

# What pkilint (from NOTICE up) says and we accept. Anything else, and anything of it that goes away, fails.
ALLOWED = {
    # Its DNS syntax wants two labels. RFC 5280 section 4.2.1.10 constrains subtrees, and `svc` is one.
    "issuing": {("GeneralNameDnsNameSyntaxValidator", "pkix.invalid_domain_name_syntax")},
    # Its URI syntax knows schemes by name, and spiffe is not among them (RFC 3986 section 3.1 has no such list).
    "leaf": {("GeneralNameUriSyntaxValidator", "pkix.invalid_uri_syntax")},
    "root": set(),
}


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Root, issuing CA and a leaf, as PEM files."""
    directory = tmp_path_factory.mktemp("lint")
    leaf = issue(_key(), NAMES, authority=authority, now=NOW, lifetime=DAY)
    certificates = {"root": authority.bundle[0], "issuing": authority.certificate, "leaf": leaf}
    for name, certificate in certificates.items():
        (directory / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    return {name: directory / name for name in certificates}


def _key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def _pkilint(program: str, *paths: Path) -> set[tuple[str, str]]:
    command = [str(Path(sys.executable).with_name(program)), "lint", "-s", "NOTICE", "-f", "JSON", *map(str, paths)]
    found = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return {
        (result["validator"], finding["code"])
        for result in json.loads(found.stdout)["results"]
        for finding in result["finding_descriptions"]
    }


@pytest.mark.parametrize("name", ["root", "issuing", "leaf"])
def test_pkilint_has_nothing_to_say_but_what_is_explained(name: str, files: dict[str, Path]) -> None:
    assert _pkilint("lint_pkix_cert", files[name]) == ALLOWED[name]


@pytest.mark.parametrize(
    ("issuer", "subject"), [pytest.param("root", "issuing", id="root"), pytest.param("issuing", "leaf", id="issuing")]
)
def test_pkilint_finds_that_each_certificate_fits_its_issuer(issuer: str, subject: str, files: dict[str, Path]) -> None:
    assert _pkilint("lint_pkix_signer_signee_cert_chain", files[issuer], files[subject]) == set()


def _openssl_verify(files: dict[str, Path], leaf: Path, *options: str) -> tuple[int, str]:
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", str(files["root"])]
    command += ["-untrusted", str(files["issuing"]), *options, str(leaf)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return found.returncode, found.stdout + found.stderr


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_the_leaf_as_server_and_as_client(purpose: str, files: dict[str, Path]) -> None:
    status, said = _openssl_verify(files, files["leaf"], "-purpose", purpose)

    assert (status, said.strip()) == (0, f"{files['leaf']}: OK")


def test_openssl_accepts_the_leaf_for_its_own_name_only(files: dict[str, Path]) -> None:
    own, _ = _openssl_verify(files, files["leaf"], "-verify_hostname", "payments.shop.svc")
    other, said = _openssl_verify(files, files["leaf"], "-verify_hostname", "orders.shop.svc")

    assert own == 0
    assert other != 0
    assert "hostname mismatch" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param(x509.DNSName("payments.shop.svc"), None, id="inside svc"),
        pytest.param(x509.DNSName("db.cluster.local"), None, id="inside the zone"),
        pytest.param(x509.DNSName("bank.example"), "permitted subtree violation", id="outside"),
        pytest.param(x509.DNSName("xsvc"), "permitted subtree violation", id="looks alike"),
        pytest.param(x509.IPAddress(ip_address("10.1.2.3")), "excluded subtree violation", id="IPv4"),
        pytest.param(x509.IPAddress(ip_address("fd00::1")), "excluded subtree violation", id="IPv6"),
    ],
)
def test_openssl_holds_a_stolen_issuing_key_to_its_constraints(
    name: x509.GeneralName, reason: str | None, authority: Authority, files: dict[str, Path], tmp_path: Path
) -> None:
    # Signed past issue(), as a thief of the key would.
    template = Template(
        subject=x509.Name([]),
        public_key=_key(),
        issuer=authority.certificate.subject,
        validity=(NOW.replace(microsecond=0), NOW.replace(microsecond=0) + DAY),
        extensions=((x509.SubjectAlternativeName([name]), True), (authority.key_identifier, False)),
    )
    (tmp_path / "leaf").write_bytes(sign(template, authority.key).public_bytes(Encoding.PEM))

    status, said = _openssl_verify(files, tmp_path / "leaf")

    assert (status == 0) == (reason is None)
    assert (reason or "OK") in said
