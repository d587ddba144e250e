"""What the webhook writes into a Pod is what the injector reads there: two images, one contract, no Pod left between.

A Pod that the webhook admits and whose init container then ends with 64 would be a Pod that nobody can start.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from injector.nginx.render import Config, render_pod
from injector.settings import Settings
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.est_server import write_leaf
from tests.injector.unprivileged import command, own, user
from tests.webhook.world import GOLDEN, MTLS, SETTINGS, annotated, apply, decided, patch, pod
from webhook.decision import Defaults, Inject
from webhook.settings import InjectionSettings

CASES = sorted(path.parent.name for path in GOLDEN.glob("*/pod.yaml"))
# Pieces of which an annotation may be made, good ones and bad ones.
_PIECES = ("payments", "a.b", "h.a.b", ".svc", ".svc.cluster.local", ":80", ":8443", "=443", "=8080", "8443", "8080")
_ODD = (",", "=", ":", ".", " ", "\n", ";", "{", "}", "$", '"', "\\", "#", "0", "65536", "\u0664", "127.0.0.1", "-")
_VALUES = st.lists(st.sampled_from(_PIECES + _ODD), max_size=8).map("".join)


def pod_settings(authority: Authority) -> InjectionSettings:
    return InjectionSettings(SETTINGS.pods, authority.bundle.decode())


def read_by_injector(raw: dict[str, Any], settings: InjectionSettings, defaults: Defaults = MTLS) -> Settings:
    """The settings of podtls-init as its injector reads them; raises SettingsError."""
    result = apply(raw, patch(raw, defaults, settings))
    init = next(each for each in result["spec"]["initContainers"] if each["name"] == "podtls-init")
    values = {each["name"]: each["value"] for each in init["env"] if "value" in each}
    return Settings.from_env({**values, "PODTLS_NAMESPACE": "shop", "PODTLS_SERVICE_ACCOUNT": "checkout"})


def configuration(settings: Settings, run: Path, nginx: Nginx) -> str:
    return render_pod(
        Config(
            run=run,
            listen=("127.0.0.1",),
            mode=settings.mode,
            trust_domain=settings.identity.trust_domain,
            ports=settings.ports,
            upstreams=settings.upstreams,
            resolvers=("127.0.0.1",),
            stream_module=nginx.stream_module,
        )
    )


def complaint(text: str, home: Path, authority: Authority, nginx: Nginx) -> str:
    """What `nginx -t` says of it; ports that only root may bind are moved up."""
    certificate, key = write_leaf(authority.leaf(), home)
    certificate.rename(home / "tls.crt")
    key.rename(home / "tls.key")
    (home / "ca.crt").write_bytes(authority.bundle)
    for port in (25, 80):
        text = text.replace(f":{port} so_keepalive", f":{20000 + port} so_keepalive")
    (home / "nginx.conf").write_text(text)
    own(home)
    arguments: list[str | Path] = [nginx.program, "-t", "-q", "-p", home, "-e", "stderr", "-c", home / "nginx.conf"]
    result = subprocess.run(command(arguments), capture_output=True, text=True, check=False, timeout=30, **user())
    return result.stderr if result.returncode else ""


@pytest.mark.parametrize("mode", ["mtls", "tls"])
@pytest.mark.parametrize("case", CASES)
def test_injector_reads_every_golden_as_the_webhook_meant_it(case: str, mode: str, authority: Authority) -> None:
    raw = yaml.safe_load((GOLDEN / case / "pod.yaml").read_text())
    defaults = Defaults(mode, "port")
    plan = decided(raw, defaults)
    assert isinstance(plan, Inject)

    settings = read_by_injector(raw, pod_settings(authority), defaults)

    assert settings.ports == plan.ports
    assert settings.upstreams == tuple(dialled.upstream for dialled in plan.upstreams)
    assert (settings.mode, settings.budget) == (plan.mode, plan.budget_seconds)
    assert str(settings.identity) == "spiffe://cluster.local/ns/shop/sa/checkout"


@pytest.mark.integration
@pytest.mark.parametrize("case", ["upstreams", "three-containers", "app-on-8443", "no-ports"])
def test_nginx_accepts_what_becomes_of_a_golden(case: str, nginx: Nginx, authority: Authority, workshop: Path) -> None:
    raw = yaml.safe_load((GOLDEN / case / "pod.yaml").read_text())

    text = configuration(read_by_injector(raw, pod_settings(authority)), workshop, nginx)

    assert complaint(text, workshop, authority, nginx) == ""


@pytest.mark.integration
def test_nginx_accepts_the_most_that_a_pod_may_ask_for(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    raw = pod(containers=[{"name": "app", "ports": [{"containerPort": 20_000 + n} for n in range(256)]}])
    longest = [f"s{number:x}.{'n' * 8}:{30_000 + number}" for number in range(200)]
    raw["metadata"]["annotations"] = {"podtls.io/upstreams": ",".join(longest)}

    text = configuration(read_by_injector(raw, pod_settings(authority)), workshop, nginx)

    assert complaint(text, workshop, authority, nginx) == ""


@given(ports=_VALUES, upstreams=_VALUES, lifetime=_VALUES)
@hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_webhook_admits_the_injector_reads(
    authority: Authority, ports: str, upstreams: str, lifetime: str
) -> None:
    chosen = {"ports": ports, "upstreams": upstreams, "lifetime": lifetime}
    raw = annotated(**{key: value for key, value in chosen.items() if value})
    settings = pod_settings(authority)

    if isinstance(decided(raw, settings=settings), Inject):
        found = read_by_injector(raw, settings)
        text = render_pod(
            Config(Path("/r"), ("0.0.0.0",), "mtls", found.identity.trust_domain, found.ports, found.upstreams, ())  # noqa: S104 - text only
        )
        # Nothing of a user's but ports and names gets into the text.
        assert text.count("{") == text.count("}")


@given(
    upstreams=st.lists(
        st.sampled_from(("payments", "a.b", "h.a.b.svc", "x.y.svc.cluster.local")), min_size=1, max_size=3
    )
)
def test_good_upstreams_are_admitted_and_read(authority: Authority, upstreams: list[str]) -> None:
    value = ",".join(f"{host}:{9000 + place}" for place, host in enumerate(upstreams))

    settings = read_by_injector(annotated(upstreams=value), pod_settings(authority))

    assert [each.port for each in settings.upstreams] == [9000 + place for place in range(len(upstreams))]
