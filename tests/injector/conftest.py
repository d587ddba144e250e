"""Fixtures of the injector's tests: authorities, an EST server, the environment of a pod, both Nginx builds.

Nginx never runs as root (unprivileged.py): it runs in a folder of its own under /tmp, since pytest's folders are
closed to others.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from contract.names import (
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_SERVICE_ACCOUNT,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
)
from lab.nginx import Nginx, find_nginx
from tests.injector.authority import Authority, Leaf
from tests.injector.est_server import EstServer, serve
from tests.injector.processes import usable_builds
from tests.injector.unprivileged import ROOT, need_python, own


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA of the pods."""
    return Authority.create()


@pytest.fixture(scope="session")
def foreign() -> Authority:
    """A CA that nobody here trusts."""
    return Authority.create("foreign root")


@pytest.fixture(scope="session")
def tls_authority() -> Authority:
    """Who vouches for `localhost`, which the constraints of the pods' CA exclude."""
    return Authority.create("TLS root", constrained=False)


@pytest.fixture(scope="session")
def tls_leaf(tls_authority: Authority) -> Leaf:
    """The EST server's own certificate."""
    return tls_authority.leaf(dns=("localhost",))


@pytest.fixture
def workshop() -> Iterator[Path]:
    """A folder that the unprivileged user can reach and owns."""
    path = Path(tempfile.mkdtemp(prefix="podtls-test-"))
    path.chmod(0o755)
    own(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def est(authority: Authority, tls_leaf: Leaf, tmp_path: Path) -> Iterator[EstServer]:
    with serve(authority, tls_leaf, tmp_path) as server:
        yield server


@pytest.fixture
def environ(est: EstServer, authority: Authority, tls_authority: Authority, workshop: Path) -> dict[str, str]:
    """The environment of an injected pod's containers."""
    token = workshop / "token"
    token.write_text("header.payload.signature\n")
    run = workshop / "run"
    run.mkdir()
    resolv_conf = workshop / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    own(run)
    return {
        ENV_CA_URL: est.url,
        ENV_TRUST_BUNDLE: (authority.bundle + tls_authority.bundle).decode(),
        ENV_TRUST_DOMAIN: "cluster.local",
        ENV_NAMESPACE: "shop",
        ENV_SERVICE_ACCOUNT: "checkout",
        ENV_MODE: "mtls",
        ENV_PORTS: "",
        ENV_UPSTREAMS: "",
        ENV_BUDGET: "5",
        "PODTLS_RUN": str(run),
        "PODTLS_TOKEN_FILE": str(token),
        "PODTLS_TERMINATION_MESSAGE": str(workshop / "termination"),
        "PODTLS_RESOLV_CONF": str(resolv_conf),
        "PODTLS_LISTEN": "127.0.0.1",
    }


@pytest.fixture
def prepared(environ: dict[str, str], nginx: Nginx, workshop: Path) -> dict[str, str]:
    """The environment of the sidecar, with `podtls-injector` and this Nginx on PATH."""
    need_python()
    programs = workshop / "bin"
    programs.mkdir()
    script = programs / "podtls-injector"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -B -m injector "$@"\n')
    script.chmod(0o755)
    return {**environ, "PATH": f"{programs}:{nginx.program.parent}:/usr/bin:/bin"}


@pytest.fixture(params=usable_builds(), ids=attrgetter("origin"))
def nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each Nginx of this machine that can carry app traffic."""
    found: Nginx = request.param
    return found


@pytest.fixture
def any_nginx() -> Nginx:
    """One build, for tests that do not depend on which one it is."""
    return find_nginx()
