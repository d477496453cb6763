"""`models.toml`: what it may say, how faults in it are told, and that they take nothing else down."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_server.engine.models.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.errors import InvalidRequestError, ModelNotFoundError

EMBEDDED = next(EMBEDDED_PATH.glob("*.gguf"))
GOOD = '[[models]]\nid = "good"\npath = "models/a.gguf"\n'


@pytest.fixture
def write(make_settings: Any) -> Callable[..., ModelCatalog]:
    """Write the file beside a models folder with a.gguf and b.gguf; give a catalogue of it."""
    settings = make_settings()
    settings.models_path.mkdir(parents=True)
    for name in "ab":
        shutil.copyfile(EMBEDDED, settings.models_path / f"{name}.gguf")

    def write(text: str, **changes: Any) -> ModelCatalog:
        make_settings().models_file_path.write_text(text, encoding="utf-8")
        return ModelCatalog(make_settings(**changes))

    return write


def ids(catalog: ModelCatalog) -> set[str]:
    return {model.model_id for model in catalog.list()}


def test_an_entry_names_a_file_and_hides_what_the_folder_says_of_it(write: Any) -> None:
    catalog = write(GOOD + 'aliases = ["gpt-4", "code"]\ncontext_tokens = 512\n', model=EMBEDDED.stem)
    assert ids(catalog) == {"good", "b", EMBEDDED.stem}
    for name in ("good", "gpt-4", "code", "a", "a.gguf"):
        model = catalog.resolve(name)
        assert (model.model_id, model.source, model.context_tokens) == ("good", "local", 512)
        assert model.aliases == ("gpt-4", "code")


def test_settings_of_an_entry_hold_for_its_model_alone(write: Any) -> None:
    catalog = write(GOOD + 'context_tokens = 512\nn_slots = 2\nflash_attention = "on"\ndraft = "b"\nkeep_alive_s = 9\n')
    own, other = (catalog.options(catalog.resolve(name)) for name in ("good", "b"))
    assert (own.settings.max_context_tokens, own.settings.n_slots, own.settings.flash_attention) == (512, 2, "on")
    assert (own.draft and own.draft.model_id, own.keep_alive_s) == ("b", 9)
    assert (other.settings.n_slots, other.settings.flash_attention, other.draft) == (8, "auto", None)
    assert catalog.problems() == ()


def test_how_long_models_stay_is_said_by_entry_then_setting_then_habit(write: Any) -> None:
    catalog = write(GOOD + "keep_alive_s = -1\n", model="b", keep_alive_s=30)
    assert [catalog.options(catalog.resolve(name)).keep_alive_s for name in ("good", "b")] == [-1, 30]
    catalog = write(GOOD, model="b")
    assert catalog.options(catalog.resolve("good")).keep_alive_s == 300
    assert catalog.options(catalog.resolve("b")).keep_alive_s < 0


def test_the_default_is_the_entrys_unless_the_setting_names_another(write: Any) -> None:
    text = GOOD + "default = true\n"
    default = write(text).resolve(None)
    assert (default.model_id, default.is_default, default.aliases) == ("good", True, ("cinque",))
    assert write(text).list()[0].model_id == "good"
    assert write(text, model="b").resolve(None).model_id == "b"
    assert write(GOOD + 'aliases = ["mine"]', model="mine").resolve(None).model_id == "good"


def test_a_remote_model_is_listed_with_its_address_and_its_key_stays_in_the_environment(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_BOX_KEY", "sesame")
    catalog = write(
        '[[models]]\nid = "big"\nurl = ["http://one:8000/v1/", "http://two:8000/v1"]\nmodel = "Org/Big-72B"\n'
        'api_key_env = "GPU_BOX_KEY"\naliases = ["o1"]\ncontext_tokens = 4096\ndefault = true\n'
    )
    model = catalog.resolve("o1")
    assert (model.source, model.path, model.size_bytes) == ("remote", "http://one:8000/v1", 0)
    assert (model.is_default, model.context_tokens) == (True, 4096)
    (remote,) = catalog.remotes()
    assert remote == RemoteModel(
        model_id="big",
        urls=("http://one:8000/v1", "http://two:8000/v1"),
        upstream_model="Org/Big-72B",
        api_key_env="GPU_BOX_KEY",
        aliases=("o1",),
        context_tokens=4096,
        is_default=True,
    )
    catalog.check(model)
    with pytest.raises(InvalidRequestError):
        catalog.remove("big")


@pytest.mark.parametrize(
    ("entry", "field", "advice"),
    [
        ('path = "x.gguf"', "id", "required"),
        ('id = "bad"', "path", "either"),
        ('id = "bad"\npath = "x.gguf"\nurl = "http://x"', "path", "either"),
        ('id = "bad"\npath = "models/b.gguf"\nn_slotz = 4', "n_slotz", "n_slots"),
        ('id = "bad"\npath = "models/b.gguf"\nn_slots = 4000', "n_slots", "64"),
        ('id = "bad"\npath = "models/b.gguf"\nn_slots = "many"', "n_slots", "integer"),
        ('id = "bad"\npath = "models/b.gguf"\nmax_waiting = 3', "max_waiting", "no such field"),
        ('id = "bad"\npath = "models/b.gguf"\ncontext_tokens = 1', "context_tokens", "64"),
        ('id = "bad"\npath = "models/b.gguf"\nkeep_alive_s = nan', "keep_alive_s", "finite"),
        ('id = "bad"\npath = "models/b.gguf"\nmodel = "y"', "model", "drop it"),
        ('id = "bad"\nurl = "gpu-box:8000"', "url", "http://host"),
        ('id = "bad"\nurl = "http://me:sesame@x/v1"', "url", "environment"),
        ('id = "bad"\nurl = "http://x"\napi_key = "sesame"', "api_key", "environment"),
        ('id = "bad"\nurl = "http://x"\napi_key_env = "NOT_SET_ANYWHERE"', "api_key_env", "NOT_SET_ANYWHERE"),
        ('id = "bad"\nurl = "http://x"\nn_slots = 3', "n_slots", "no such field"),
        ('id = "bad"\nurl = "http://x"\nkeep_alive_s = 3', "keep_alive_s", "drop it"),
        ('id = "default"\nurl = "http://x"', "id", "cannot be a name"),
        ('id = "two words"\nurl = "http://x"', "id", "cannot be a name"),
        ('id = 7\nurl = "http://x"', "id", "string"),
        ('id = "good"\npath = "models/b.gguf"', "good", "another"),
    ],
)
def test_a_bad_entry_is_told_with_file_line_and_field_and_the_good_one_works(
    write: Any, caplog: pytest.LogCaptureFixture, entry: str, field: str, advice: str
) -> None:
    with caplog.at_level(logging.WARNING):
        catalog = write(GOOD + "\n[[models]]\n" + entry + "\n")
        (problem,) = catalog.problems()
    assert "models.toml, line 5" in problem
    assert field in problem
    assert advice in problem
    assert "sesame" not in problem
    assert problem in caplog.text
    assert catalog.resolve("good").path.endswith("a.gguf")
    if 'id = "bad"' in entry:
        with pytest.raises(ModelNotFoundError) as caught:
            catalog.resolve("bad")
        assert caught.value.message == problem


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        ('aliases = ["other"]', "'other' means 'other' already"),
        ('draft = "good"', "cannot guess for itself"),
        ('draft = "nobody"', "there is no model 'nobody'"),
        ('draft = "other"', "is remote"),
        ("default = true", "is the default already"),
    ],
)
def test_a_field_that_means_nothing_is_told_and_its_model_works(write: Any, more: str, advice: str) -> None:
    other = '[[models]]\nid = "other"\nurl = "http://x"\ndefault = true\n'
    catalog = write(other + GOOD + more + "\n")
    (problem,) = catalog.problems()
    assert advice in problem
    assert catalog.resolve("good").model_id == "good"
    assert catalog.resolve("other").model_id == catalog.resolve(None).model_id == "other"


def test_the_context_itself_may_guess_for_a_model(write: Any) -> None:
    catalog = write(GOOD + 'draft = "prompt-lookup"\n')
    assert catalog.problems() == ()
    options = catalog.options(catalog.resolve("good"))
    assert (options.settings.draft_model, options.draft) == ("prompt-lookup", None)


@pytest.mark.parametrize("fault", ["missing", "folder", "part"])
def test_an_entry_without_its_file_is_told_and_refused_when_asked_for(write: Any, tmp_path: Path, fault: str) -> None:
    name = "big-00001-of-00002.gguf" if fault == "part" else "big.gguf"
    path = tmp_path / name
    if fault == "folder":
        path.mkdir()
    if fault == "part":
        shutil.copyfile(EMBEDDED, path)
    catalog = write(GOOD + f'[[models]]\nid = "big"\npath = "{path}"\n')
    (problem,) = catalog.problems()
    assert ("big-00002-of-00002.gguf" if fault == "part" else "big.gguf") in problem
    with pytest.raises(ModelNotFoundError, match="put the model there"):
        catalog.resolve("big")
    assert "big" not in ids(catalog)
    assert "good" in ids(catalog)


@pytest.mark.parametrize("text", ["[[models]\n", "[models]\nid = 3\n", 'models = "x"\n', "\x00"])
def test_a_file_that_is_no_toml_is_told_and_what_it_said_before_counts(write: Any, text: str) -> None:
    catalog = write(GOOD)
    assert "good" in ids(catalog)
    write(text)
    (problem,) = catalog.problems()
    assert "models.toml" in problem
    assert "good" in ids(catalog)
    write(GOOD.replace("good", "better"))
    assert "better" in ids(catalog)
    assert catalog.problems() == ()


def test_a_table_of_another_name_is_told(write: Any) -> None:
    catalog = write('[[model]]\nid = "x"\n' + GOOD)
    (problem,) = catalog.problems()
    assert "'model' means nothing" in problem
    assert "good" in ids(catalog)


def test_a_file_that_was_asked_for_and_is_not_there_is_told(make_settings: Any, tmp_path: Path) -> None:
    assert ModelCatalog(make_settings()).problems() == ()
    (problem,) = ModelCatalog(make_settings(models_file=tmp_path / "gone.toml")).problems()
    assert "gone.toml" in problem
    (problem,) = ModelCatalog(make_settings(models_file=tmp_path)).problems()
    assert "cannot be read" in problem
