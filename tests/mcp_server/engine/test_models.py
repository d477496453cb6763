"""Model files: what is listed, which is the default, and how missing or damaged ones fail."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.models.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.models.embedded import notice
from mcp_server.engine.models.gguf_file import read_header
from mcp_server.engine.types import GenerationRequest, GenerationResult, Model, SamplingParams
from mcp_server.errors import InvalidRequestError, ModelLoadError, ModelNotFoundError

EMBEDDED = next(EMBEDDED_PATH.glob("*.gguf"))
EMBEDDING = b"\x11\0\0\0\0\0\0\0token_embd.weight"  # the name of a tensor, as its row in the table begins


@pytest.fixture
def add_model(make_settings: Any) -> Callable[..., Path]:
    def add(name: str, *, age_s: int = 0) -> Path:
        path: Path = make_settings().models_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(EMBEDDED, path)
        os.utime(path, (1_800_000_000 - age_s,) * 2)
        return path

    return add


def ids(catalog: ModelCatalog) -> list[str]:
    return [model.model_id for model in catalog.list()]


def test_alone_the_embedded_model_is_the_default(make_settings: Any) -> None:
    (model,) = ModelCatalog(make_settings()).list()
    assert (model.source, model.is_default, model.is_loaded) == ("embedded", True, False)
    assert model.size_bytes == EMBEDDED.stat().st_size


def test_the_embedded_model_says_what_it_can_do_where_nothing_else_answers(make_settings: Any, add_model: Any) -> None:
    said = read_header(EMBEDDED).metadata["general.description"].rstrip(".")
    told = ModelCatalog(make_settings()).notice()
    assert EMBEDDED.stem in told
    assert said in told
    assert "cinque models pull OWNER/NAME FILE.gguf" in told
    assert len(told.splitlines()) == 1
    assert ModelCatalog(make_settings(model=EMBEDDED.stem)).notice() == "", "somebody has chosen it"
    assert ModelCatalog(make_settings(model="gone")).notice() == ""
    add_model("pulled.gguf")
    assert ModelCatalog(make_settings()).notice() == ""


def test_an_embedded_model_whose_file_is_damaged_is_still_named(tmp_path: Path) -> None:
    model = Model("tiny", str(tmp_path / "tiny.gguf"), "embedded", 1, 1, is_default=True, is_loaded=False)
    Path(model.path).write_bytes(b"noise")
    assert "this one answers: tiny, the embedded demonstration and test model. For a larger one: " in notice(model)


def test_the_newest_downloaded_model_is_the_default_and_first(make_settings: Any, add_model: Any) -> None:
    add_model("old.gguf", age_s=100)
    add_model("new.gguf")
    catalog = ModelCatalog(make_settings())
    assert ids(catalog)[0] == "new"
    assert set(ids(catalog)) == {"new", "old", EMBEDDED.stem}
    assert [model.is_default for model in catalog.list()] == [True, False, False]


@pytest.mark.parametrize("name", [None, "", "default", "cinque"])
def test_the_default_has_several_names(make_settings: Any, name: str | None) -> None:
    assert ModelCatalog(make_settings()).resolve(name).model_id == EMBEDDED.stem


def test_the_setting_chooses_the_default_by_name_or_path(make_settings: Any, add_model: Any, tmp_path: Path) -> None:
    add_model("new.gguf")
    assert ModelCatalog(make_settings(model=EMBEDDED.stem)).resolve(None).source == "embedded"
    elsewhere = shutil.copyfile(EMBEDDED, tmp_path / "elsewhere.gguf")
    catalog = ModelCatalog(make_settings(model=str(elsewhere)))
    assert catalog.resolve(None).path == str(elsewhere)
    assert ids(catalog)[0] == "elsewhere"


def test_a_default_that_is_not_there_is_named_and_the_others_are_still_listed(make_settings: Any) -> None:
    catalog = ModelCatalog(make_settings(model="/nowhere/gone.gguf"))
    with pytest.raises(ModelNotFoundError, match=r"CINQUE_ENGINE_MODEL.*gone\.gguf"):
        catalog.resolve(None)
    assert ids(catalog) == [EMBEDDED.stem]


def test_an_unknown_name_lists_what_is_there(make_settings: Any) -> None:
    with pytest.raises(ModelNotFoundError, match=EMBEDDED.stem) as caught:
        ModelCatalog(make_settings()).resolve("gpt-17")
    assert caught.value.param == "model"


def test_a_file_that_calls_itself_a_part_of_nothing_is_a_model_of_its_own(make_settings: Any, add_model: Any) -> None:
    add_model("odd-00001-of-00000.gguf")
    assert "odd" in ids(ModelCatalog(make_settings()))


def test_a_split_model_is_one_model_and_only_when_all_parts_are_there(make_settings: Any, add_model: Any) -> None:
    add_model("big-00001-of-00002.gguf")
    catalog = ModelCatalog(make_settings())
    assert ids(catalog) == [EMBEDDED.stem]
    add_model("big-00002-of-00002.gguf")
    assert catalog.resolve("big").size_bytes == 2 * EMBEDDED.stat().st_size
    catalog.remove("big")
    assert ids(catalog) == [EMBEDDED.stem]
    assert list(make_settings().models_path.iterdir()) == []


def test_a_downloaded_model_can_be_removed_and_the_embedded_cannot(make_settings: Any, add_model: Any) -> None:
    path = add_model("mine.gguf")
    catalog = ModelCatalog(make_settings())
    catalog.remove("mine")
    assert not path.exists()
    with pytest.raises(InvalidRequestError):
        catalog.remove(EMBEDDED.stem)
    with pytest.raises(ModelNotFoundError):
        catalog.remove("mine")
    assert EMBEDDED.exists()


def test_the_header_says_what_the_file_is() -> None:
    header = read_header(EMBEDDED)
    assert header.architecture == "llama"
    assert header.metadata["llama.context_length"] == 1024
    assert header.needed_bytes == EMBEDDED.stat().st_size


DAMAGES = (
    *("empty", "short", "not gguf", "version", "header", "weights", "count", "rows", "zeros", "dimensions"),
    *("huge tensor", "architecture"),
)


def damaged(data: bytes, kind: str) -> bytes:
    """Damage a model: every one of these reached llama.cpp in some product and ended it."""
    return {
        "empty": b"",
        "short": data[:3],
        "not gguf": b"PK\x03\x04" + data[4:],
        "version": data[:4] + struct.pack("<I", 99) + data[8:],
        "header": data[:2000],
        "weights": data[:-1],
        "count": data[:8] + struct.pack("<Q", 1 << 60) + data[16:],
        "rows": data[:16] + struct.pack("<Q", 1 << 16) + data[24:],
        "zeros": data[:24] + bytes(1 << 20),
        "dimensions": data.replace(EMBEDDING + b"\x02", EMBEDDING + b"\x09"),
        "huge tensor": data.replace(EMBEDDING + b"\x02\0\0\0\0\x01", EMBEDDING + b"\x02\0\0\0" + b"\xff" * 2),
        "architecture": data.replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"general.architecture"
                                     b"\x08\0\0\0\x05\0\0\0\0\0\0\0lxama", 1),
    }[kind]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_damaged_file_is_a_load_error_that_names_it_and_the_engine_lives(
    make_settings: Any, add_model: Any, kind: str
) -> None:
    path = add_model("bad.gguf")
    path.write_bytes(damaged(EMBEDDED.read_bytes(), kind))
    engine = AsyncEngine(make_settings(model=EMBEDDED.stem))
    request = GenerationRequest(prompt="x", sampling=SamplingParams(max_tokens=1))
    with pytest.raises(ModelLoadError, match=r"bad\.gguf"):
        await engine.generate(GenerationRequest(prompt="x", model="bad"))
    assert (await engine.generate(request)).model == EMBEDDED.stem
    await engine.aclose()


def test_a_folder_or_a_broken_link_that_is_called_like_a_model_is_none(make_settings: Any, add_model: Any) -> None:
    folder = add_model("mine.gguf").parent
    (folder / "folder.gguf").mkdir()
    (folder / "link.gguf").symlink_to(folder / "gone")
    catalog = ModelCatalog(make_settings())
    assert set(ids(catalog)) == {"mine", EMBEDDED.stem}
    with pytest.raises(ModelNotFoundError, match="neither"):
        ModelCatalog(make_settings(model=str(folder / "folder.gguf"))).resolve(None)


@pytest.mark.anyio
async def test_another_model_waits_for_the_running_ones_and_then_takes_their_place(
    make_settings: Any, add_model: Any
) -> None:
    add_model("other.gguf")
    engine = AsyncEngine(make_settings(model=EMBEDDED.stem, max_loaded_models=1))
    done: list[GenerationResult] = []

    async def run(model: str) -> None:
        sampling = SamplingParams(max_tokens=20, logit_bias={"0": -100.0, "2": -100.0})
        done.append(await engine.generate(GenerationRequest(prompt="x", model=model, sampling=sampling)))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for model in (EMBEDDED.stem, "other", EMBEDDED.stem, "other"):
                group.start_soon(run, model)
                await anyio.wait_all_tasks_blocked()
    assert [result.model for result in done] == [EMBEDDED.stem, "other", EMBEDDED.stem, "other"]
    assert [model.model_id for model in engine.statistics().loaded_models] == ["other"]
    await engine.aclose()


def test_a_check_finds_what_is_damaged_and_a_mended_file_is_sound(make_settings: Any, add_model: Any) -> None:
    catalog = ModelCatalog(make_settings())
    path = add_model("mine.gguf")
    catalog.check(catalog.resolve("mine"))
    path.write_bytes(b"noise" * 600)
    with pytest.raises(ModelLoadError, match=r"mine\.gguf"):
        catalog.check(catalog.resolve("mine"))
    add_model("mine.gguf")
    catalog.check(catalog.resolve("mine"))


@pytest.mark.anyio
async def test_a_default_model_that_does_not_load_is_remembered_until_it_does(
    make_settings: Any, add_model: Any
) -> None:
    path = add_model("mine.gguf")
    path.write_bytes(damaged(EMBEDDED.read_bytes(), "architecture"))
    catalog = ModelCatalog(make_settings())
    catalog.check(catalog.resolve(None))
    engine = AsyncEngine(make_settings(), catalog)
    with pytest.raises(ModelLoadError) as caught:
        await engine.load()
    await engine.load(EMBEDDED.stem)
    failure = engine.statistics().load_failure
    assert failure is not None
    assert (failure.model, failure.message) == (catalog.resolve(None), caught.value.message)
    shutil.copyfile(EMBEDDED, path)
    await engine.load()
    assert engine.statistics().load_failure is None
    await engine.aclose()


def test_a_model_whose_draft_is_not_here_runs_without_one(make_settings: Any) -> None:
    catalog = ModelCatalog(make_settings(draft_model="nowhere"))
    options = catalog.options(catalog.resolve(None))
    assert (options.draft, options.settings.draft_model) == (None, "")
