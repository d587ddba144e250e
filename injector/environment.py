"""Reading one variable of the environment. Every error names the variable, its value and what is allowed."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from contract.errors import quote
from contract.names import ENV_LISTEN, ENV_RUN, RUN_DIRECTORY
from injector.errors import SettingsError

# What nginx.conf may hold between quotes without any escaping.
_PATH: Final = re.compile(r"/[A-Za-z0-9 ._/@+~=\[\]-]{0,200}")
_LARGEST_COUNT: Final = 86400

T = TypeVar("T")


def read_variable(environ: Mapping[str, str], variable: str, parse: Callable[[str], T], *, default: str = "") -> T:
    """Parse one variable. Raises SettingsError for a ValueError of `parse`, which says what it got and expected."""
    try:
        return parse(environ.get(variable, default))
    except ValueError as error:
        where = variable if variable in environ else f"{variable} is not set"
        raise SettingsError(f"{where}: {error}") from error


def read_path(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """An absolute path that nginx.conf can hold. Raises SettingsError."""
    return read_variable(environ, variable, _parse_path, default=default)


def read_count(environ: Mapping[str, str], variable: str, default: int) -> int:
    """A number from 1 to 86400. Raises SettingsError."""
    return read_variable(environ, variable, _parse_count, default=str(default))


def read_run_directory(environ: Mapping[str, str]) -> Path:
    """Where the generations are. Raises SettingsError."""
    return read_path(environ, ENV_RUN, RUN_DIRECTORY)


def read_listen_addresses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses to listen on as Nginx spells them, empty for all. Raises SettingsError."""
    return read_variable(environ, ENV_LISTEN, _parse_addresses)


def _parse_path(text: str) -> Path:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{quote(text)} cannot be used as a path: expected the form {_PATH.pattern}")
    return Path(text)


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > _LARGEST_COUNT:
        raise ValueError(f"{quote(text)} is not a number in the range: expected 1 to {_LARGEST_COUNT}")
    return int(text)


def _parse_addresses(text: str) -> tuple[str, ...]:
    # Scoped addresses (fe80::1%anything) would let any character through.
    if not re.fullmatch(r"[0-9a-fA-F.:,]*", text):
        raise ValueError(f"{quote(text)} is not a list of addresses: expected IP addresses with a comma between")
    addresses = [ipaddress.ip_address(item) for item in text.split(",")] if text else []
    return tuple(f"[{address}]" if address.version == 6 else str(address) for address in addresses)
