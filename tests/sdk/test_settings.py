"""sdk.settings: arguments go before the environment, and all faults are told at once."""

from __future__ import annotations

import pytest

from sdk.environment import SettingsError
from sdk.settings import read


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PINCLIP_API_KEY", "PINCLIP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_read_defaults_to_the_server_on_this_machine() -> None:
    settings = read()

    assert settings.base_url == "http://127.0.0.1:8417"
    assert settings.api_key == ""


def test_read_ignores_a_wrong_variable_that_an_argument_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", "nonsense")

    assert read(base_url="https://example.org").base_url == "https://example.org"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8417",
        "ftp://example.org",
        "http://",
        "https:///v1",
        "http://example.org:0",
        "http://example.org:99999",
        "http://example.org:port",
        "http://[::1",
        "http://example.org?key=hush",
        "http://example.org#top",
        "http://exam ple.org",
        "http://example.org/\x1b[2J",
    ],
)
def test_read_refuses_an_address_that_cannot_be_asked(address: str) -> None:
    with pytest.raises(SettingsError, match="PINCLIP_BASE_URL") as caught:
        read(base_url=address)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["se cret", "se\ncret", "schlüssel", "se\x00cret"])
def test_read_refuses_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(SettingsError, match="PINCLIP_API_KEY") as caught:
        read(api_key=key)

    assert key not in str(caught.value)


def test_read_tells_all_faults_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read(api_key="se cret", base_url="nonsense")

    assert len(caught.value.faults) == 2


def test_settings_never_show_the_key() -> None:
    assert "hush" not in repr(read(api_key="hush"))


def test_read_refuses_a_user_name_that_would_hide_the_key() -> None:
    with pytest.raises(SettingsError, match="user name") as caught:
        read(api_key="hush", base_url="https://me:hidden@example.org")

    assert "hush" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert read(api_key="", base_url="https://me:hidden@example.org")


def test_read_shows_no_password_of_an_address_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        read(base_url="https://me:hidden@example.org?x")

    assert "hidden" not in str(caught.value)
