"""Settings read only variables that begin with `CINQUE_`: a plain `HOME` or `API_KEY` is somebody else's."""

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from mcp_server.engine.remote.settings import RemoteSettings
from mcp_server.engine.settings import EngineSettings
from mcp_server.settings import McpSettings
from rag.settings import RagSettings
from sandbox.settings import SandboxSettings
from shim.settings import ShimSettings

WITH_HOME = (McpSettings, EngineSettings, RagSettings, SandboxSettings)
SETTINGS = (*WITH_HOME, RemoteSettings, ShimSettings)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_no_setting_reads_a_variable_of_another_program(
    settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CINQUE_HOME")
    before = settings()
    for name in settings.model_fields:
        monkeypatch.setenv(name.upper(), "not-for-us")
    assert settings() == before


@pytest.mark.parametrize("settings", WITH_HOME, ids=lambda settings: settings.__name__)
def test_all_settings_share_one_data_folder(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINQUE_HOME", "/elsewhere")
    assert settings().home == Path("/elsewhere")  # type: ignore[attr-defined]  # every one of them has it
