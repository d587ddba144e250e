"""EST on the wire: what a request must look like, and what comes back."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from ca.api import est
from ca.authority.authority import Authority
from ca.errors import CSRError, NotAcceptableError, UnsupportedTypeError
from contract.names import TYPE_PEM_CHAIN

PEM_CHAIN = TYPE_PEM_CHAIN


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"aGVsbG8gd29ybGQ=", id="one line"),
        pytest.param(b"aGVsbG8g\r\nd29y\nbGQ=\r\n", id="lines"),
        pytest.param(b" aGVs bG8g\td29ybGQ= ", id="white space anywhere (RFC 8951 section 3.1)"),
    ],
)
def test_body_is_base64_in_any_lines(body: bytes) -> None:
    assert est.read_request("application/pkcs10", "", body) == b"hello world"


@pytest.mark.parametrize("content_type", ["application/pkcs10", "Application/PKCS10", "application/pkcs10; a=b"])
def test_content_type_is_read_in_any_case_and_with_parameters(content_type: str) -> None:
    assert est.read_request(content_type, "", b"aGk=") == b"hi"


@pytest.mark.parametrize("content_type", ["", "application/json", "application/pkcs10x", "text/plain"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedTypeError, match="expected application/pkcs10"):
        est.read_request(content_type, "", b"aGk=")


@pytest.mark.parametrize(
    "body", [pytest.param(b"a", id="too short"), pytest.param(b"-----BEGIN", id="PEM"), b"aGk=\x00"]
)
def test_body_that_is_no_base64_is_refused(body: bytes) -> None:
    with pytest.raises(CSRError, match="not base64"):
        est.read_request("application/pkcs10", "", body)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param("", "application/pkcs7-mime; smime-type=certs-only", id="no wish"),
        pytest.param("*/*", "application/pkcs7-mime; smime-type=certs-only", id="anything"),
        pytest.param("application/*;q=0.5", "application/pkcs7-mime; smime-type=certs-only", id="any application"),
        pytest.param("application/pkcs7-mime", "application/pkcs7-mime; smime-type=certs-only", id="EST's"),
        pytest.param(PEM_CHAIN, PEM_CHAIN, id="ours"),
        pytest.param(f"*/*, {PEM_CHAIN};q=0.1", PEM_CHAIN, id="ours, named"),
        pytest.param(f"{PEM_CHAIN};q=0, */*", "application/pkcs7-mime; smime-type=certs-only", id="ours, but not"),
    ],
)
def test_answer_is_of_the_type_that_is_accepted(accept: str, expected: str, authority: Authority) -> None:
    est.read_request("application/pkcs10", accept, b"aGk=")

    answer = est.encode_enrollment(accept, authority.certificate, authority.chain)

    assert answer.headers["Content-Type"] == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json, text/*", "application/pkcs7-mime;q=0"])
def test_client_that_accepts_nothing_we_have_is_told_before_anything_is_signed(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="the answer is application/pkcs7-mime"):
        est.read_request("application/pkcs10", accept, b"aGk=")


def test_pkcs7_carries_the_leaf_alone_in_base64(authority: Authority) -> None:
    answer = est.encode_enrollment("", authority.bundle[0], authority.chain)

    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    assert pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body)) == [authority.bundle[0]]


def test_base64_is_one_line_however_much_it_is(authority: Authority) -> None:
    # RFC 8951 section 3.1 wants it without line breaks, and strongSwan reads nothing else.
    answer = est.encode_certificates([*authority.bundle, *authority.chain])

    assert len(answer.body) > 76
    assert not set(answer.body) & set(b"\r\n ")


def test_pem_chain_is_leaf_first(authority: Authority) -> None:
    answer = est.encode_enrollment(PEM_CHAIN, authority.bundle[0], authority.chain)

    assert x509.load_pem_x509_certificates(answer.body) == [authority.bundle[0], authority.certificate]
    assert "Content-Transfer-Encoding" not in answer.headers
