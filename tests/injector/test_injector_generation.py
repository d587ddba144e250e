"""Generations: whole or not at all, one flip, the one before kept; also when the volume is full."""

import os
import stat
from pathlib import Path

import pytest

from injector.errors import GenerationError, NginxError
from injector.generation import Generation, read, write


def generation(word: bytes, *, size: int = 1) -> Generation:
    return Generation(key=word, certificate=word, bundle=word * size, nginx=word)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def test_a_generation_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Generation(key=b"key", certificate=b"certificate", bundle=b"bundle", nginx=b"nginx")

    directory = write(tmp_path, written)

    assert read(tmp_path) == written
    assert directory == tmp_path / "gen-000001"


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)

    directory = write(tmp_path, generation(b"a"))

    os.umask(before)
    modes = {path.name: f"{stat.S_IMODE(path.stat().st_mode):04o}" for path in directory.iterdir()}
    assert modes == {"tls.key": "0400", "tls.crt": "0444", "ca.crt": "0444", "nginx.conf": "0444"}


def test_the_one_before_stays_and_older_ones_go(tmp_path: Path) -> None:
    for word in (b"a", b"b", b"c", b"d"):
        write(tmp_path, generation(word))

    assert names(tmp_path) == ["current", "gen-000003", "gen-000004"]
    assert read(tmp_path) == generation(b"d")


def test_a_generation_that_is_not_accepted_leaves_nothing(tmp_path: Path) -> None:
    def refuse(directory: Path) -> None:
        assert (directory / "nginx.conf").read_bytes() == b"b"
        assert read(tmp_path) == generation(b"a")
        raise NginxError("no")

    write(tmp_path, generation(b"a"))

    with pytest.raises(NginxError, match="no"):
        write(tmp_path, generation(b"b"), accept=refuse)

    assert names(tmp_path) == ["current", "gen-000001"]


def test_what_a_killed_writer_left_goes_and_is_never_served(tmp_path: Path) -> None:
    write(tmp_path, generation(b"a"))
    half = tmp_path / "gen-000002.new"
    half.mkdir()
    (half / "tls.key").write_bytes(b"half")
    # Killed between the rename and the flip: whole, and named by nobody.
    (tmp_path / "gen-000007").mkdir()
    (tmp_path / "current.new").symlink_to("gen-000007")

    write(tmp_path, generation(b"b"))

    assert names(tmp_path) == ["current", "gen-000001", "gen-000008"]
    assert read(tmp_path) == generation(b"b")


def test_other_files_of_the_volume_stay(tmp_path: Path) -> None:
    (tmp_path / "nginx.pid").write_text("1")
    (tmp_path / "gen-notes").write_text("mine")

    write(tmp_path, generation(b"a"))

    assert names(tmp_path) == ["current", "gen-000001", "gen-notes", "nginx.pid"]


def test_no_generation_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=f"{tmp_path}.*no readable generation: No such file"):
        read(tmp_path)


def test_half_a_generation_is_not_read(tmp_path: Path) -> None:
    (write(tmp_path, generation(b"a")) / "tls.crt").unlink()

    with pytest.raises(GenerationError, match="no readable generation"):
        read(tmp_path)


def test_a_run_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="cannot write a new generation: No such file"):
        write(tmp_path / "absent", generation(b"a"))


def test_a_flip_that_fails_leaves_the_old_generation_and_no_new_one(tmp_path: Path) -> None:
    # A folder in the place of the link: rename() refuses to replace it.
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "something").touch()

    with pytest.raises(GenerationError, match="cannot write a new generation: Is a directory"):
        write(tmp_path, generation(b"a"))

    assert names(tmp_path) == ["current"]


SCRIPT = """
mount -t tmpfs -o size=256k none "$1" && cd "$2" && exec "$3" - "$1" <<'END'
import sys
from pathlib import Path
from injector.errors import GenerationError
from injector.generation import Generation, read, write
run = Path(sys.argv[1])
small = Generation(b"key", b"certificate", b"bundle", b"nginx")
write(run, small)
try:
    write(run, Generation(b"key", b"certificate", b"x" * 1000000, b"nginx"))
except GenerationError as error:
    print(error)
print(read(run) == small, sorted(path.name for path in run.iterdir()))
END
"""


def test_a_full_volume_is_a_clean_error_and_leaves_no_half_generation(workshop: Path) -> None:
    import shutil
    import subprocess
    import sys

    unshare = shutil.which("unshare")
    isolated = [unshare or "unshare", "--user", "--map-root-user", "--mount"]
    if (
        not unshare
        or subprocess.run([*isolated, "mount", "-t", "tmpfs", "none", str(workshop)], check=False).returncode
    ):
        pytest.skip("no user namespace with a mount of its own: a volume cannot be made full")

    root = Path(__file__).parents[2]
    result = subprocess.run(
        [*isolated, "sh", "-c", SCRIPT, "sh", str(workshop), str(root), sys.executable],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "cannot write a new generation: No space left on device" in result.stdout
    assert "True ['current', 'gen-000001']" in result.stdout
