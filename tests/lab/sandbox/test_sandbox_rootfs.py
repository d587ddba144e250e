from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.kubelet import rootfs
from lab.sandbox.linux.programs import Interpreter

PYTHON = Interpreter(
    Path("/home/me/shop/.venv/bin/python"),
    folders=(Path("/home/me/shop/.venv"), Path("/opt/python"), Path("/usr"), Path("/home/me/shop/.venv/lib/podtls")),
    links=(
        (Path("/home/me/shop/.venv/bin/python"), "/home/me/bin/python"),
        (Path("/home/me/bin/python"), "/opt/python/bin/python3"),
    ),
    source_roots=(Path("/home/me/shop"),),
)


@pytest.fixture(name="host")
def fixture_host(tmp_path: Path) -> Path:
    for folder in ("usr/bin", "lib64", "etc/ssl", "opt/python", "opt/podtls/old"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "etc/passwd").write_text("me:x:1000:1000::/home/me:/bin/sh\n", encoding="ascii")
    return tmp_path


def planned(host: Path, *own: rootfs.Step) -> list[dict[str, Any]]:
    return rootfs.steps(rootfs.image(host, PYTHON, Path("/usr/sbin/nginx"), "#!/bin/sh\n# sidecar\n"), own)


def by_target(steps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {step["target"]: step for step in steps}


def test_the_hosts_folders_are_bound_read_only_and_its_symlinks_copied(host: Path) -> None:
    steps = by_target(planned(host))

    assert steps["/usr"] == {"target": "/usr", "source": "/usr", "read_only": True, "do": "bind"}
    assert steps["/bin"] == {"target": "/bin", "to": "usr/bin", "do": "link"}
    assert "/sbin" not in steps


def test_of_the_hosts_etc_only_what_programs_need_is_seen(host: Path) -> None:
    steps = by_target([*planned(host, *rootfs.users(64321, 64321))])

    assert steps["/etc/ssl"]["do"] == "bind"
    assert "me:x:1000" not in steps["/etc/passwd"]["text"]
    assert "app:x:64321:64321:" in steps["/etc/passwd"]["text"]


@pytest.mark.parametrize(
    ("uid", "gid", "line"),
    [
        pytest.param(0, 0, "root:x:0:0:", id="root"),
        pytest.param(65534, 5, "nobody:x:65534:5:", id="nobody of a group"),
        pytest.param(7, 0, "app:x:7:0:", id="a user of root's group"),
    ],
)
def test_who_runs_is_in_passwd_and_group(uid: int, gid: int, line: str) -> None:
    passwd, group = (step for step in rootfs.users(uid, gid) if isinstance(step, rootfs.File))

    assert line in passwd.text
    assert f":x:{gid}:" in group.text


def test_the_interpreter_is_where_it_says_it_is_with_the_links_that_lead_to_it(host: Path) -> None:
    steps = by_target(planned(host))

    assert steps["/home/me/shop/.venv"]["do"] == "bind"
    assert steps["/opt/python"]["do"] == "bind"
    assert steps["/home/me/bin/python"] == {
        "target": "/home/me/bin/python",
        "to": "/opt/python/bin/python3",
        "do": "link",
    }
    assert "/home/me/shop/.venv/lib/podtls" not in steps, "its venv holds it already"
    assert "/home/me" not in steps, "nobody's home is shown whole"


def test_our_commands_are_in_opt_and_not_the_hosts(host: Path) -> None:
    steps = by_target(planned(host))

    assert "/opt/podtls" not in steps
    assert steps["/opt/podtls/bin/podtls-sidecar"]["text"] == "#!/bin/sh\n# sidecar\n"
    assert steps["/opt/podtls/bin/nginx"]["to"] == "/usr/sbin/nginx"
    injector = steps["/opt/podtls/bin/podtls-injector"]
    assert injector["mode"] == 0o755
    assert 'exec /home/me/shop/.venv/bin/python -P -m injector "$@"' in injector["text"]
    assert "PYTHONPATH=/home/me/shop" in injector["text"]


def test_a_volume_over_a_parent_folder_does_not_hide_the_interpreter(host: Path) -> None:
    targets = [step["target"] for step in planned(host, rootfs.Bind("/home", "/state/volume", read_only=False))]

    assert targets.index("/home") < targets.index("/home/me/shop/.venv")


def test_parents_come_before_children(host: Path) -> None:
    targets = [step["target"] for step in planned(host, rootfs.Bind("/var/run/podtls", "/state/run"))]

    assert targets.index("/run") < targets.index("/var/run") < targets.index("/var/run/podtls")


def test_a_host_without_opt_is_no_problem(host: Path) -> None:
    steps = by_target(rootfs.steps(rootfs.image(host / "usr", PYTHON, Path("/n"), ""), ()))

    assert steps["/opt/python"]["do"] == "bind"


def test_hosts_has_the_pod_and_its_aliases() -> None:
    step = rootfs.hosts("10.244.0.7", ["web-0.web.shop.svc.cluster.local", "web-0"], [
        {"ip": "127.0.1.1", "hostnames": ["payments", "payments.shop"]}, {"ip": "127.0.1.2"},
    ])  # fmt: skip

    assert isinstance(step, rootfs.File)
    assert "127.0.0.1\tlocalhost\n" in step.text
    assert "10.244.0.7\tweb-0.web.shop.svc.cluster.local\tweb-0\n" in step.text
    assert "127.0.1.1\tpayments\tpayments.shop\n127.0.1.2\t\n" in step.text


def test_resolver_searches_as_cluster_first_does() -> None:
    step = rootfs.resolver("10.244.0.1", "shop", "cluster.local")

    assert isinstance(step, rootfs.File)
    assert step.text == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.244.0.1\noptions ndots:5\n"
    )
