"""Real pods in a real sandbox: what their manifests say is what they get."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.sandbox.sandboxes import ROOT, SECONDS, RemoteWorld, WorldError, until

pytestmark = pytest.mark.namespaces

NS = "shop"
# Answers each HTTP request with the client's address; a first process must heed SIGTERM itself.
WEB = """if True:
    import http.server, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
"""
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]


@pytest.fixture(name="world", scope="module")
def fixture_world(no_sandbox_because: str) -> Iterator[RemoteWorld]:
    if no_sandbox_because:
        pytest.skip(no_sandbox_because)
    world = RemoteWorld()
    yield world
    assert world.close() == 0


def a_pod(name: str, *containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": NS, "name": name, "uid": f"uid-{name}", "labels": labels or {"app": name}}
    return {"metadata": metadata, "spec": {"containers": list(containers), **spec}}


def run(world: RemoteWorld, pod: dict[str, Any]) -> dict[str, Any]:
    """Run it until it is ready; its status."""
    world.run_pod(pod)
    world.wait_ready(NS, pod["metadata"]["name"], SECONDS)
    status: dict[str, Any] = world.status(NS, pod["metadata"]["name"])
    return status


def shell(world: RemoteWorld, pod: str, script: str, container: str = "c") -> str:
    code, out, err = world.execute(NS, pod, container, ["sh", "-c", script], SECONDS)
    assert code == 0, err
    return str(out)


def test_containers_start_in_order_and_a_sidecar_has_started_before_the_next_one(world: RemoteWorld) -> None:
    mount = {"volumeMounts": [{"name": "order", "mountPath": "/order"}]}
    say = "echo {0} >> /order/log"
    started = {"exec": {"command": ["test", "-e", "/order/up"]}, "periodSeconds": 1}
    sidecar_script = "echo sidecar >> /order/log; sleep 0.2; touch /order/up; exec sleep 600"
    sidecar: dict[str, Any] = {
        "name": "side",
        "restartPolicy": "Always",
        "command": ["sh", "-c", sidecar_script],
        **mount,
    }
    sidecar["startupProbe"] = started
    pod = a_pod(
        "order",
        {"name": "c", "command": ["sh", "-c", f"{say.format('app')}; exec sleep 600"], **mount},
        initContainers=[
            {"name": "first", "command": ["sh", "-c", say.format("first")], **mount},
            sidecar,
            {"name": "last", "command": ["sh", "-c", f"test -e /order/up && {say.format('last')}"], **mount},
        ],
        volumes=[{"name": "order", "emptyDir": {}}],
    )  # fmt: skip

    status = run(world, pod)

    assert shell(world, "order", "cat /order/log") == "first\nsidecar\nlast\napp\n"
    assert [each["state"].popitem()[0] for each in status["initContainerStatuses"]] == [
        "terminated", "running", "terminated",
    ]  # fmt: skip
    assert status["containerStatuses"][0]["state"]["running"]["startedAt"].endswith("Z")
    assert {condition["type"]: condition["status"] for condition in status["conditions"]}["Ready"] == "True"


def test_a_container_runs_as_its_user_without_capabilities_in_a_root_of_its_own(world: RemoteWorld) -> None:
    security = {
        "runAsUser": 64321, "runAsGroup": 64321, "runAsNonRoot": True, "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    run(world, a_pod("strict", {"name": "c", "command": ["sleep", "600"], "securityContext": security}))

    assert shell(world, "strict", "id -u; id -g; id -un") == "64321\n64321\napp\n"
    facts = dict(
        line.split(":\t") for line in shell(world, "strict", "cat /proc/self/status").splitlines() if ":\t" in line
    )
    assert (int(facts["CapEff"], 16), int(facts["CapPrm"], 16), facts["NoNewPrivs"]) == (0, 0, "1")
    assert shell(world, "strict", "cat /proc/1/comm; hostname") == "sleep\nstrict\n"
    assert "Read-only" in shell(world, "strict", "touch /x /usr/x 2>&1 || true")
    assert str(ROOT.parent) in {"/", "/home"} or "Makefile" not in shell(world, "strict", f"ls {ROOT}")


def test_volumes_are_at_their_paths_and_shared_by_those_who_mount_them_only(world: RemoteWorld) -> None:
    token = {"serviceAccountToken": {"audience": "podtls-ca", "expirationSeconds": 600, "path": "token"}}
    world.set_config_map(NS, "page", {"index.html": "hello"})
    writer = {"name": "run", "mountPath": "/var/run/podtls"}
    pod = a_pod(
        "volumes",
        {
            "name": "c",
            "command": ["sleep", "600"],
            "volumeMounts": [
                writer,
                {"name": "token", "mountPath": "/var/run/secrets/podtls", "readOnly": True},
                {"name": "page", "mountPath": "/srv/page", "readOnly": True},
                {"name": "claim", "mountPath": "/var/log/podtls"},
            ],
        },
        {"name": "reader", "command": ["sleep", "600"], "volumeMounts": [writer | {"readOnly": True}]},
        {"name": "stranger", "command": ["sleep", "600"]},
        volumes=[
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "token", "projected": {"sources": [token]}},
            {"name": "page", "configMap": {"name": "page"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "evidence-volumes"}},
        ],
    )

    run(world, pod)

    assert shell(world, "volumes", "cat /srv/page/index.html") == "hello"
    assert shell(world, "volumes", "cat /var/run/secrets/podtls/token").startswith("volumes|podtls-ca|600|")
    assert shell(world, "volumes", "touch /srv/page/x 2>/dev/null || echo no") == "no\n"
    assert "No space left" in shell(
        world, "volumes", "head -c 2000000 /dev/zero 2>&1 > /var/run/podtls/a; rm /var/run/podtls/a"
    )
    assert shell(world, "volumes", "echo seen > /var/run/podtls/key; echo kept > /var/log/podtls/log") == ""
    assert (
        shell(world, "volumes", "cat /var/run/podtls/key; touch /var/run/podtls/x || echo no", "reader") == "seen\nno\n"
    )
    assert shell(world, "volumes", "ls /var/run", "stranger") == ""
    assert world.read_claim(NS, "evidence-volumes", "log") == "kept\n"


def test_a_pod_waits_for_the_config_map_it_needs_and_says_so(world: RemoteWorld) -> None:
    world.run_pod(a_pod("patient", {"name": "c", "command": ["sleep", "600"]},
                        volumes=[{"name": "v", "configMap": {"name": "late"}}]))  # fmt: skip
    until(lambda: "late" in world.status(NS, "patient").get("message", ""), "the reason")

    world.set_config_map(NS, "late", {"a": "1"})

    world.wait_ready(NS, "patient", SECONDS)


def test_services_lead_to_ready_pods_by_name_and_the_pod_sees_who_asks(world: RemoteWorld) -> None:
    named = [{"name": "http", "containerPort": 8080}]
    server: dict[str, Any] = {"name": "c", "command": ["python3", "-c", WEB, "8080"], "ports": named}
    server["readinessProbe"] = {"httpGet": {"port": "http"}, "periodSeconds": 1}
    world.set_service(
        {"metadata": {"name": "web", "namespace": NS},
         "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}
    )  # fmt: skip
    world.set_service(
        {"metadata": {"name": "webs", "namespace": NS},
         "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 8080}]}}
    )  # fmt: skip
    web = run(world, a_pod("web", server, hostname="web-0", subdomain="webs"))
    aliases = [{"ip": web["podIP"], "hostnames": ["alias.example"]}]
    client = run(world, a_pod("client", {"name": "c", "command": ["sleep", "600"]}, hostAliases=aliases))

    def fetch(url: str, pod: str = "client") -> str:
        code, out, err = world.execute(NS, pod, "c", ["python3", "-c", FETCH, url], SECONDS)
        assert code == 0, err
        return str(out).strip()

    through_service = [fetch(f"http://{host}/") for host in ("web", "web.shop", "web.shop.svc.cluster.local")]
    direct = [fetch(f"http://{host}:8080/") for host in ("web-0.webs", "alias.example")]

    assert through_service + direct == [client["podIP"]] * 5
    assert fetch("http://web/", pod="web") == "10.244.0.1", "a pod that dials itself comes from the node, as on a node"
    code, _, err = world.execute(NS, "client", "c", ["python3", "-c", FETCH, "http://nobody/"], SECONDS)
    assert code == 1
    assert "Name or service not known" in err or "Name does not resolve" in err


def test_a_capture_tells_plaintext_from_nothing(world: RemoteWorld) -> None:
    world.set_service(
        {"metadata": {"name": "plain", "namespace": NS},
         "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "plain"}, "ports": [{"port": 80, "targetPort": 8080}]}}
    )  # fmt: skip
    server: dict[str, Any] = {"name": "c", "command": ["python3", "-c", WEB, "8080"]}
    run(world, a_pod("plain", server | {"readinessProbe": {"tcpSocket": {"port": 8080}}}))
    run(world, a_pod("dialer", {"name": "c", "command": ["sleep", "600"]}))
    world.begin_capture(NS, "plain")

    world.execute(NS, "dialer", "c", ["python3", "-c", FETCH, "http://plain/secret"], SECONDS)

    report = world.end_capture()
    assert not report["tls_only"]
    assert any(text.startswith("GET /secret HTTP/1.1") for text in report["plaintext"])


def test_the_sysctl_of_the_pod_lets_its_user_bind_low_ports(world: RemoteWorld) -> None:
    bind = "import socket; socket.create_server(('127.0.1.1', 80)); print('bound')"
    container = {"name": "c", "command": ["sleep", "600"], "securityContext": {"runAsUser": 64321}}
    sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    run(world, a_pod("low", container, securityContext={"sysctls": sysctls}))
    run(world, a_pod("high", container))

    low = world.execute(NS, "low", "c", ["python3", "-c", bind], SECONDS)
    high = world.execute(NS, "high", "c", ["python3", "-c", bind], SECONDS)

    assert low[:2] == [0, "bound\n"]
    assert high[0] == 1
    assert "PermissionError" in high[2]


def test_environment_and_arguments_are_what_the_pod_says(world: RemoteWorld) -> None:
    container = {
        "name": "c",
        "command": ["sh", "-c", 'echo "$0 $WHO $(pwd)"; exec sleep 600'],
        "args": ["$(WHO)!"],
        "workingDir": "/srv/new",
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WHO", "value": "I am $(NAME)"},
        ],
    }

    run(world, a_pod("env", container))

    until(lambda: world.logs(NS, "env", "c") == "I am env! I am env /srv/new\n", "its log")


def test_an_init_container_that_fails_is_tried_again_and_says_why(world: RemoteWorld) -> None:
    fail = "touch /v/again; echo CA unavailable > /dev/termination-log; exit 69"
    script = f"echo trying; [ -e /v/again ] || {{ {fail}; }}"
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    init = {"name": "i", "command": ["sh", "-c", script], **mount}

    status = run(world, a_pod("again", {"name": "c", "command": ["sleep", "600"]}, initContainers=[init],
                              volumes=[{"name": "v", "emptyDir": {}}]))  # fmt: skip

    (told,) = status["initContainerStatuses"]
    assert told["restartCount"] == 1
    assert told["lastState"]["terminated"]["exitCode"] == 69
    assert told["lastState"]["terminated"]["message"] == "CA unavailable"
    assert world.logs(NS, "again", "i") == "trying\ntrying\n"


def test_pods_end_in_order_with_their_sidecars_last(world: RemoteWorld) -> None:
    script = "trap 'echo {0} >> /claim/log; exit 0' TERM; echo up; sleep 600 & wait"
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/claim"}]}
    side = {"name": "s", "restartPolicy": "Always", "command": ["sh", "-c", script.format("sidecar")], **mount}
    app = {"name": "c", "command": ["sh", "-c", script.format("app")], **mount}
    claim = {"name": "v", "persistentVolumeClaim": {"claimName": "ender"}}
    run(world, a_pod("ender", app, initContainers=[side], volumes=[claim]))
    until(lambda: all(world.logs(NS, "ender", name) for name in ("c", "s")), "both to heed signals")

    world.stop_pod(NS, "ender", None)

    assert world.read_claim(NS, "ender", "log") == "app\nsidecar\n"
    with pytest.raises(WorldError, match=r"NotFoundError.*no pod shop/ender runs here"):
        world.logs(NS, "ender", "c")


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        pytest.param(a_pod("bare", {"name": "c", "image": "nginx"}), "container c: no `command`", id="no command"),
        pytest.param(
            a_pod("gone", {"name": "c", "command": ["/no/such"]}), "/no/such: no such program", id="no program"
        ),
        pytest.param(
            a_pod("host", {"name": "c", "command": ["a"]}, hostNetwork=True), "does not support hostNetwork", id="host"
        ),
        pytest.param(
            a_pod(
                "deep",
                {"name": "c", "command": ["a"], "volumeMounts": [{"name": "v", "mountPath": "/usr/new"}]},
                volumes=[{"name": "v", "emptyDir": {}}],
            ),
            "/usr/new Read-only file system",
            id="a mount below a host folder",
        ),
    ],
)
def test_what_cannot_run_says_why(world: RemoteWorld, pod: dict[str, Any], reason: str) -> None:
    world.run_pod(pod | {"spec": pod["spec"] | {"restartPolicy": "Never"}})

    with pytest.raises(WorldError, match=reason):
        world.wait_ready(NS, pod["metadata"]["name"], SECONDS)


def test_a_command_inside_that_hangs_is_cut_and_one_that_is_not_there_is_named(world: RemoteWorld) -> None:
    run(world, a_pod("exec", {"name": "c", "command": ["sleep", "600"]}))

    with pytest.raises(WorldError, match=r"TimeoutExpired.*sleep"):
        world.execute(NS, "exec", "c", ["sh", "-c", "sleep 500 & sleep 500"], 0.3)
    with pytest.raises(WorldError, match=r"ContainerError.*nope: no such program"):
        world.execute(NS, "exec", "c", ["nope"], SECONDS)
    with pytest.raises(WorldError, match="container other of pod shop/exec does not run"):
        world.execute(NS, "exec", "other", ["true"], SECONDS)
    with pytest.raises(WorldError, match="pod shop/exec runs already"):
        world.run_pod(a_pod("exec"))

    began = time.monotonic()
    world.stop_pod(NS, "exec", 0)
    assert time.monotonic() - began < 4, "the command that was cut kept its container from ending"


def test_the_printed_command_enters_the_container_from_another_terminal(world: RemoteWorld) -> None:
    run(
        world,
        a_pod(
            "typed", {"name": "c", "command": ["sleep", "600"], "securityContext": {"runAsUser": 7, "runAsGroup": 7}}
        ),
    )

    command = world.command_to_exec(NS, "typed", "c")
    typed = "hostname; id -u; nginx -v 2>&1 | cut -d/ -f1\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.stdout == "typed\n7\nnginx version: nginx\n", done.stderr


def test_our_commands_run_inside(world: RemoteWorld) -> None:
    run(world, a_pod("ours", {"name": "c", "command": ["sleep", "600"], "securityContext": {"runAsUser": 64321}}))
    code = "import injector, sys, json; print(json.dumps([injector.__file__, sys.prefix]))"

    file, _ = json.loads(shell(world, "ours", f"python3 -c '{code}'"))

    assert Path(file).name == "__init__.py"
    assert "podtls-injector init" in shell(world, "ours", "podtls-injector 2>&1 || true")
    assert "gunicorn" in shell(world, "ours", "gunicorn --version")
