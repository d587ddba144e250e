"""An authority: what a new one is, how it is kept, and which files are refused."""

import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.authority import creation
from ca.authority.authority import Template, load_authority, parse_authority, sign, watch_authority
from ca.errors import ConfigurationError
from tests.ca.world import NOW, TRUST_DOMAIN

WHOLE = NOW.replace(microsecond=0)


@pytest.fixture(scope="module")
def made() -> creation.NewAuthority:
    return creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW)


def _assert_is_ca(certificate: x509.Certificate, path_length: int) -> None:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert certificate.not_valid_before_utc == WHOLE - timedelta(seconds=60)
    assert certificate.serial_number.bit_length() <= 159


def test_root_may_have_one_ca_below_it(made: creation.NewAuthority) -> None:
    root = made.root.certificate

    _assert_is_ca(root, path_length=1)
    root.verify_directly_issued_by(root)
    assert root.not_valid_after_utc == WHOLE + timedelta(days=3650)


def test_issuing_ca_is_bound_to_the_clusters_names(made: creation.NewAuthority) -> None:
    issuing = made.issuing.certificate

    constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints)

    _assert_is_ca(issuing, path_length=0)
    issuing.verify_directly_issued_by(made.root.certificate)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName("svc"), x509.DNSName("cluster.local")]
    assert [str(excluded.value) for excluded in constraints.value.excluded_subtrees or ()] == ["0.0.0.0/0", "::/0"]


def test_issuing_ca_ends_with_its_root(made: creation.NewAuthority) -> None:
    late = made.root.certificate.not_valid_after_utc - timedelta(days=3)

    issuing = creation.create_issuing(TRUST_DOMAIN, "cluster.local", made.root, late)

    assert issuing.certificate.not_valid_after_utc == made.root.certificate.not_valid_after_utc


def test_two_authorities_have_two_names(made: creation.NewAuthority) -> None:
    other = creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW)

    subjects = {pair.certificate.subject for each in (made, other) for pair in (each.root, each.issuing)}

    assert len(subjects) == 4


def test_saved_authority_loads_as_it_was(made: creation.NewAuthority, tmp_path: Path) -> None:
    creation.save_authority(made, tmp_path / "authority")

    authority = load_authority(tmp_path / "authority" / "issuing")

    assert authority.chain == (made.issuing.certificate,)
    assert authority.bundle == (made.root.certificate,)
    assert authority.key.public_key() == made.issuing.key.public_key()


def test_keys_are_readable_by_their_owner_alone(made: creation.NewAuthority, tmp_path: Path) -> None:
    creation.save_authority(made, tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.key")}

    assert modes == {"root.key": 0o400, "tls.key": 0o400}
    assert stat.S_IMODE((tmp_path / "issuing").stat().st_mode) == 0o700


def test_authority_is_never_overwritten(made: creation.NewAuthority, tmp_path: Path) -> None:
    creation.save_authority(made, tmp_path)
    before = (tmp_path / "root.key").read_bytes()

    with pytest.raises(ConfigurationError, match=r"root\.key exists: an authority is never overwritten"):
        creation.save_authority(creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW), tmp_path)

    assert (tmp_path / "root.key").read_bytes() == before


def test_place_that_cannot_be_written_is_named(made: creation.NewAuthority, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="file/issuing: Not a directory"):
        creation.save_authority(made, tmp_path / "file")


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_missing_file_is_named(name: str, made: creation.NewAuthority, tmp_path: Path) -> None:
    creation.save_authority(made, tmp_path)
    (tmp_path / "issuing" / name).unlink()

    with pytest.raises(ConfigurationError, match=f"{name}: No such file"):
        load_authority(tmp_path / "issuing")


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _key_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


Files = tuple[bytes, bytes, bytes]


def _garbage_certificate(made: creation.NewAuthority) -> Files:
    return b"garbage", _key_pem(made.issuing.key), _pem(made.root.certificate)


def _garbage_key(made: creation.NewAuthority) -> Files:
    return _pem(made.issuing.certificate), b"garbage", _pem(made.root.certificate)


def _foreign_key(made: creation.NewAuthority) -> Files:
    other = _key_pem(ec.generate_private_key(ec.SECP256R1()))
    return _pem(made.issuing.certificate), other, _pem(made.root.certificate)


def _ed25519_key(made: creation.NewAuthority) -> Files:
    return _pem(made.issuing.certificate), _key_pem(ed25519.Ed25519PrivateKey.generate()), _pem(made.root.certificate)


def _short_rsa_key(made: creation.NewAuthority) -> Files:
    short = rsa.generate_private_key(65537, 2048)
    return _pem(made.issuing.certificate), _key_pem(short), _pem(made.root.certificate)


def _foreign_root(made: creation.NewAuthority) -> Files:
    other = creation.create_root(TRUST_DOMAIN, NOW).certificate
    return _pem(made.issuing.certificate), _key_pem(made.issuing.key), _pem(other)


def _no_ca(made: creation.NewAuthority) -> Files:
    key = ec.generate_private_key(ec.SECP256R1())
    template = Template(
        subject=x509.Name([]),
        public_key=key.public_key(),
        issuer=made.root.certificate.subject,
        validity=(WHOLE, WHOLE + timedelta(days=1)),
        extensions=((x509.BasicConstraints(ca=False, path_length=None), True),),
    )
    return _pem(sign(template, made.root.key)), _key_pem(key), _pem(made.root.certificate)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(_garbage_certificate, "authority in here: ", id="garbage for a certificate"),
        pytest.param(_garbage_key, "authority in here: ", id="garbage for a key"),
        pytest.param(_foreign_key, "the key is not the certificate's", id="another key"),
        pytest.param(_ed25519_key, "its key is neither EC nor RSA", id="Ed25519"),
        pytest.param(_short_rsa_key, "RSA of 3072 bits", id="RSA 2048"),
        pytest.param(_foreign_root, "no root of the bundle vouches for its chain", id="another root"),
        pytest.param(_no_ca, "the first certificate is not a CA's", id="a leaf"),
    ],
)
def test_authority_that_cannot_sign_is_refused(
    files: Callable[[creation.NewAuthority], Files], reason: str, made: creation.NewAuthority
) -> None:
    certificate, key, bundle = files(made)

    with pytest.raises(ConfigurationError, match=reason):
        parse_authority(certificate, key, bundle, where="here")


def test_old_and_new_roots_may_stand_in_one_bundle(made: creation.NewAuthority) -> None:
    other = creation.create_root(TRUST_DOMAIN, NOW).certificate

    authority = parse_authority(
        _pem(made.issuing.certificate), _key_pem(made.issuing.key), _pem(other, made.root.certificate), where="here"
    )

    assert len(authority.bundle) == 2


def test_certificate_is_signed_with_a_hash_as_strong_as_its_key(made: creation.NewAuthority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    template = Template(x509.Name([]), key.public_key(), x509.Name([]), (WHOLE, WHOLE + timedelta(days=1)), ())

    assert isinstance(sign(template, key).signature_hash_algorithm, hashes.SHA384)
    assert isinstance(made.root.certificate.signature_hash_algorithm, hashes.SHA256)


def _renewed(made: creation.NewAuthority, folder: Path) -> creation.NewAuthority:
    issuing = creation.create_issuing(TRUST_DOMAIN, "cluster.local", made.root, NOW + timedelta(days=1))
    again = creation.NewAuthority(made.root, issuing)
    creation.save_authority(again, folder)
    return again


def test_a_renewed_authority_is_taken_over_while_running(made: creation.NewAuthority, tmp_path: Path) -> None:
    creation.save_authority(made, tmp_path / "before")
    renewed = _renewed(made, tmp_path / "after")
    (tmp_path / "now").symlink_to(tmp_path / "before/issuing")
    current = watch_authority(tmp_path / "now")
    before = current.get()

    (tmp_path / "new").symlink_to(tmp_path / "after/issuing")
    (tmp_path / "new").rename(tmp_path / "now")

    assert before.certificate == made.issuing.certificate
    assert current.get().certificate == renewed.issuing.certificate
    assert current.get() is current.get()


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_a_half_renewed_authority_leaves_the_one_before(
    made: creation.NewAuthority, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    creation.save_authority(made, tmp_path / "made")
    folder = tmp_path / "made/issuing"
    current = watch_authority(folder)
    kept = (folder / name).read_bytes()

    (folder / name).unlink()

    assert current.get().certificate == made.issuing.certificate
    assert f"the previous value stays in use: authority: {folder / name}: No such file" in caplog.text
    (folder / name).write_bytes(kept)
    assert current.get().certificate == made.issuing.certificate


def test_a_running_ca_needs_an_authority_at_its_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        watch_authority(tmp_path)
