"""What an administrator may say about the server itself."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from contract.names import APP_SOCKET
from serving.errors import SettingsError
from serving.settings import ServerSettings


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, ServerSettings(Path(APP_SOCKET), workers=2, threads=8), id="defaults"),
        pytest.param(
            {"PODTLS_SOCKET": "/s", "PODTLS_WORKERS": "4", "PODTLS_THREADS": "99"},
            ServerSettings(Path("/s"), workers=4, threads=99),
            id="all",
        ),
    ],
)
def test_settings_are_read(environment: Mapping[str, str], expected: ServerSettings) -> None:
    assert ServerSettings.from_env(environment) == expected


@pytest.mark.parametrize("variable", ["PODTLS_WORKERS", "PODTLS_THREADS"])
@pytest.mark.parametrize("value", ["0", "100", "-1", "two", "", "\u0662"])
def test_count_out_of_range_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: got '{value}', expected a number from 1 to 99$"):
        ServerSettings.from_env({variable: value})
