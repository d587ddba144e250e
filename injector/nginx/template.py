"""Filling templates of nginx.conf, and the parts that they all have.

All values that get here were parsed into types of contract/ or by environment.py, so none can hold a quote, a `$` or a
control character.
"""

import string
from functools import cache
from pathlib import Path
from typing import ClassVar, Final

from contract.names import PID_FILE, VERSION

_MAIN: Final = Path(__file__).parent / "templates" / "main.conf"


def fill_main(block: str, *, run: Path, load_module: str, log_level: str) -> str:
    """A whole nginx.conf around its `http` or `stream` block."""
    return fill(
        _MAIN,
        version=VERSION,
        load_module=load_module,
        run=run,
        pid_file=PID_FILE,
        log_level=log_level,
        block=block.rstrip(),
    )


def fill_listen(addresses: tuple[str, ...], port: int, *, options: str = "") -> str:
    """The `listen` lines of a TLS server."""
    return "".join(f"        listen {address}:{port} ssl{options};\n" for address in addresses)


def fill(template: Path, **values: object) -> str:
    """Fill a template. A name that `values` lacks is our bug and rises as KeyError."""
    return _read(template).substitute(values)


class _Template(string.Template):
    """`@{name}`, since Nginx needs the dollar for itself."""

    delimiter: ClassVar[str] = "@"
    idpattern: ClassVar[str] = r"(?!)"  # a bare @name is text
    braceidpattern: ClassVar[str] = r"[a-z_]+"


@cache
def _read(template: Path) -> _Template:
    return _Template(template.read_text(encoding="utf-8"))
