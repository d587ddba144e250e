"""The outer sandbox: what is in it, what it says where it cannot be had, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.names import EXIT_UNAVAILABLE
from lab.sandbox.errors import SandboxError
from lab.sandbox.linux import enclosure
from tests.lab.sandbox.sandboxes import ROOT, SECONDS, RemoteWorld, descendants, namespaces, start, still_there, until

SLEEPER = """
import subprocess, tempfile, time
tempfile.mkdtemp(prefix="podtls-left-")
subprocess.Popen(["setsid", "sleep", "600"])
print("up", flush=True)
time.sleep(600)
"""
LEAVER = "import atexit, sys, time; atexit.register(print, 'ended in order'); print('up', flush=True); time.sleep(600)"


@pytest.fixture(autouse=True)
def _needs_namespaces(request: pytest.FixtureRequest, no_sandbox_because: str) -> None:
    if request.node.get_closest_marker("namespaces") and no_sandbox_because:
        pytest.skip(no_sandbox_because)


def run_inside(code: str) -> subprocess.CompletedProcess[str]:
    process = start("-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.mark.namespaces
def test_inside_we_are_first_process_and_root_with_a_memory_of_our_own() -> None:
    code = """if True:
        import os, tempfile
        from lab.sandbox.linux import enclosure
        print(os.getpid(), os.getuid(), enclosure.is_inside(), os.listdir(enclosure.STATE), tempfile.gettempdir())
        print(int(os.environ[enclosure.INSIDE]) > 1, sorted(os.listdir("/sys/class/net")) is not None)
    """

    done = run_inside(code)

    assert done.stdout.splitlines() == ["1 0 True [] /dev/shm", "True True"], done.stderr
    assert not enclosure.is_inside()


@pytest.mark.namespaces
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda process: process.kill(), id="kill -9"),
        pytest.param(lambda process: process.terminate(), id="SIGTERM"),
        pytest.param(lambda process: process.send_signal(signal.SIGINT), id="SIGINT"),
        pytest.param(lambda process: process.send_signal(signal.SIGHUP), id="SIGHUP"),
    ],
)
def test_whatever_ends_it_nothing_is_left(end: Callable[[subprocess.Popen[str]], None]) -> None:
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    with start("-c", SLEEPER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = descendants(process.pid)
        spaces = namespaces(pids)

        end(process)
        process.wait(SECONDS)

    assert len(pids) >= 2
    assert not [*Path("/dev/shm").glob("podtls-left-*"), *Path(tempfile.gettempdir()).glob("podtls-left-*")]
    assert spaces
    until(lambda: not still_there(pids, spaces), "its processes and namespaces to be gone")
    assert Path("/proc/self/mountinfo").read_text(encoding="utf-8") == mounts


@pytest.mark.namespaces
def test_with_pods_running_kill_9_leaves_nothing() -> None:
    world = RemoteWorld()
    container = {
        "name": "c",
        "command": ["setsid", "sh", "-c", "sleep 600 & sleep 600"],
        "securityContext": {"runAsUser": 7},
    }
    world.run_pod({"metadata": {"namespace": "shop", "name": "p"}, "spec": {"containers": [container]}})
    world.wait_ready("shop", "p", SECONDS)
    pids = descendants(world.process.pid)
    spaces = namespaces(pids)

    world.kill()

    assert len(spaces) >= 4, "sandbox and pod each have a network and a mount namespace"
    until(lambda: not still_there(pids, spaces), "its processes and namespaces to be gone")


@pytest.mark.namespaces
def test_a_signal_lets_it_end_in_order() -> None:
    with start("-c", LEAVER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()

        process.terminate()

        assert process.stdout.read() == "ended in order\n"
        assert process.wait(SECONDS) == 128 + signal.SIGINT


@pytest.mark.namespaces
def test_what_ignores_the_first_signal_is_killed_by_the_second() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    with start("-c", deaf, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        process.terminate()
        until(lambda: _is_waiting(process.pid), "the first signal to be taken")
        process.terminate()

        assert process.wait(SECONDS) == 128 + signal.SIGKILL


@pytest.mark.namespaces
def test_where_namespaces_are_forbidden_it_says_what_to_type_and_ends_with_69() -> None:
    # In a user namespace of one's own one may forbid further ones: the kernel then refuses as a forbidding host does.
    forbidding = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", forbidding]
    command += [sys.executable, "-m", "lab.sandbox.linux.enclosure", "-c", "print('never')"]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT,
        env={**os.environ, **enclosure.importable()},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (EXIT_UNAVAILABLE, "")
    assert "does not let us make namespaces (unshare: No space left on device)" in done.stderr
    assert "sudo sysctl -w user.max_user_namespaces=10000" in done.stderr


@pytest.mark.namespaces
def test_a_capture_of_a_wire_that_is_not_there_is_refused() -> None:
    done = run_inside("from lab.sandbox.linux.capture import Capture; Capture('veth99')")

    assert "OSError: [Errno 19] No such device" in done.stderr


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxError, match=r"not found: ip, nsenter.*apt-get install iproute2 util-linux"):
        enclosure._require_programs()


@pytest.mark.parametrize(
    ("switches", "lines"),
    [
        pytest.param(
            {"kernel.apparmor_restrict_unprivileged_userns": "1"},
            ["  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # Ubuntu 23.10 and newer"],
            id="Ubuntu",
        ),
        pytest.param(
            {"kernel.unprivileged_userns_clone": "0", "user.max_user_namespaces": "0"},
            [
                "  sudo sysctl -w kernel.unprivileged_userns_clone=1    # Debian 10, hardened kernels",
                "  sudo sysctl -w user.max_user_namespaces=10000    # RHEL 7, hardened machines",
            ],
            id="two switches",
        ),
    ],
)
def test_advice_names_the_switches_that_forbid(switches: dict[str, str], lines: list[str]) -> None:
    assert enclosure.advice(lambda name: switches.get(name, "")).splitlines()[1:] == lines


def _is_waiting(pid: int) -> bool:
    """Whether no signal is pending for it any more."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if ":\t" in line
    )
    return int(status["ShdPnd"], 16) == 0 and status["State"].startswith("S")
