"""The models that can be used here, by name: the embedded one, files on this machine, and those of `models.toml`.

Folder and file are looked at anew for every question, so what was copied or written there by hand is found. An entry of
the file hides what the folder would say of the same file or name. Downloads are `pull`'s work. Loading is the engine's:
here `is_loaded` is always False. Thread-safe: what is remembered is replaced, never changed.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mcp_server.engine.drafting import PROMPT_LOOKUP
from mcp_server.engine.models import embedded
from mcp_server.engine.models.gguf_file import SPLIT_NAME, read_header, split_parts
from mcp_server.engine.models.models_file import Entry, LocalEntry, ModelsFile, read_models_file
from mcp_server.engine.models.pull import pull_file
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Model, PullProgress
from mcp_server.errors import InvalidRequestError, ModelNotFoundError

EMBEDDED_PATH = Path(__file__).parents[1] / "embedded"
SUFFIX = ".gguf"
CHECKS_KEPT = 16  # models found sound, remembered
DEFAULT_NAMES = ("", "default")
CACHE_SHARE = 6  # one part in as many of the memory budget is for the KV cache of one model, unless a setting says more
KEEP_ALIVE_S = 300.0  # of models that are not the default, where nothing else is said; the settings say why

_log = logging.getLogger(__name__)

State = tuple[int, int, int] | None  # of a file: inode, size, time of change (ns); None: not there


@dataclass(frozen=True)
class ModelOptions:
    """How one model is to be run."""

    settings: EngineSettings  # with what models.toml says of this model
    keep_alive_s: float  # without a request; negative: until memory is needed
    draft: Model | None  # the model that guesses for this one


class ModelCatalog:
    """Models by name."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._run_settings = _within_budget(settings)
        self._read: tuple[State, ModelsFile] = (None, ModelsFile())

    def list(self) -> tuple[Model, ...]:
        """List every model once, the default first, then the newest; a default that is missing is left out."""
        models = {model.model_id: model for model in self._all()}
        with contextlib.suppress(ModelNotFoundError):
            default = self._default()
            models[default.model_id] = default
        newest_first = sorted(models.values(), key=lambda model: (-model.created_at, model.model_id))
        return tuple(sorted(newest_first, key=lambda model: not model.is_default))

    def resolve(self, name: str | None) -> Model:
        """Find a model by id or alias; None, "", "default" and the setting's aliases mean the default model.

        Raises:
            ModelNotFoundError: There is none of this name, or its entry in models.toml cannot be used; the message
                lists those there are, or says why.
        """
        if name is None or name in DEFAULT_NAMES or name in self._settings.model_aliases:
            return self._default()
        models = self.list()
        if (model := _find(models, name)) is not None:
            return model
        self._explain_missing(name)
        available = ", ".join(model.model_id for model in models)
        msg = f"There is no model {name!r} here; available: {available or 'none'}. Pull it, or name one of these."
        raise ModelNotFoundError(msg, param="model")

    def options(self, model: Model) -> ModelOptions:
        """Tell how a model of this machine is to be run; without a draft model where that is not here."""
        entry = next((e for e in self._file().entries if e.model_id == model.model_id), None)
        general = self._settings.keep_alive_s
        keep_alive_s = (-1.0 if model.is_default else KEEP_ALIVE_S) if general is None else general
        settings, draft = self._run_settings, self._settings.draft_model
        if not model.is_default and draft != PROMPT_LOOKUP:
            draft = ""  # the setting names a smaller one of the default model
        if isinstance(entry, LocalEntry):
            settings = entry.apply_to(settings)
            keep_alive_s = keep_alive_s if entry.keep_alive_s is None else entry.keep_alive_s
            draft = entry.draft or draft
        guesser = None
        if draft and draft != PROMPT_LOOKUP:
            try:
                guesser = self.resolve(draft)
            except ModelNotFoundError as error:  # slower, and answers the same
                _log.warning("%s runs without a draft model: %s", model.model_id, error.message)
                draft = ""
        return ModelOptions(settings.model_copy(update={"draft_model": draft}), keep_alive_s, guesser)

    def remotes(self) -> tuple[RemoteModel, ...]:
        """List the models of models.toml that other servers run."""
        return tuple(entry for entry in self._file().entries if isinstance(entry, RemoteModel))

    def problems(self) -> tuple[str, ...]:
        """Say what of models.toml does not work, each with where it is and what to do."""
        where = self._settings.models_file_path
        problems = [problem.message for problem in self._file().problems]
        if self._settings.models_file is not None and not where.exists():
            problems.append(f"There is no {where}; write it, or unset CINQUE_ENGINE_MODELS_FILE.")
        known = self.list()
        for entry in self._local_entries():
            if not _is_there(entry.path):
                problems.append(f"{where}, model {entry.model_id!r}, path: {_why_missing(entry.path)}")
            if entry.draft in (None, PROMPT_LOOKUP):
                continue
            if (draft := _find(known, str(entry.draft))) is None:
                problems.append(
                    f"{where}, model {entry.model_id!r}, draft: there is no model {entry.draft!r}; name one."
                )
            elif draft.source == "remote":
                problems.append(
                    f"{where}, model {entry.model_id!r}, draft: {entry.draft!r} is remote; name a local one."
                )
        return tuple(problems)

    def notice(self) -> str:
        """Say in one line that the embedded model is the default, for want of another that was pulled or chosen.

        It is empty where another is, and where `CINQUE_ENGINE_MODEL` names the embedded one.
        """
        if self._settings.model:
            return ""
        try:
            model = self._default()
        except ModelNotFoundError:  # told by whoever needs the model
            return ""
        return embedded.notice(model) if model.source == "embedded" else ""

    def check(self, model: Model) -> None:
        """Read the headers of the model's files; once they are found sound, not again until they change.

        Raises:
            ModelLoadError: A file is missing, damaged or truncated.
        """
        if model.source != "remote":
            _check_files(model.path, model.size_bytes, model.created_at)

    def pull(
        self,
        repo_id: str,
        filename: str,
        on_progress: Callable[[PullProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Model:
        """Download a GGUF file of a hub repository into the models folder, all parts of it when it is split.

        Blocks for as long as that takes; a download that was cut off goes on where it stopped.

        Args:
            repo_id: such as `owner/name`.
            filename: the .gguf inside it; of a split one, any part.
            on_progress: called in this thread, at most a few times a second.
            cancelled: set it to stop; what has come stays for the next try.

        Raises:
            InvalidRequestError: The names cannot be a repository and a file.
            ModelPullError: Offline, not found, no space, cancelled, or the checksum does not match.
        """
        first = pull_file(self._settings, repo_id, filename, on_progress or _ignore, cancelled or threading.Event())
        return self.resolve(_model_id(first))

    def removable(self, name: str) -> Model:
        """Find a downloaded model, whose files are ours to delete.

        Raises:
            ModelNotFoundError: There is none of this name.
            InvalidRequestError: It is not in the models folder.
        """
        model = self.resolve(name)
        if model.source != "local" or Path(model.path).parent != self._settings.models_path:
            msg = (
                f"{model.model_id} is not a downloaded model, so it cannot be removed; choose another default instead."
            )
            raise InvalidRequestError(msg, param="model")
        return model

    def remove(self, name: str) -> None:
        """Delete a downloaded model's files.

        Raises:
            ModelNotFoundError: There is none of this name.
            InvalidRequestError: It is not in the models folder, so it is not ours to delete.
        """
        for part in split_parts(Path(self.removable(name).path)):
            part.unlink(missing_ok=True)

    def _file(self) -> ModelsFile:
        """Read models.toml where it changed; while it is no TOML at all, what it said before still counts."""
        path = self._settings.models_file_path
        state = file_state(path)
        read_state, known = self._read
        if state != read_state:
            new = read_models_file(path, self._settings)
            known = new if new.is_readable else replace(known, problems=new.problems)
            for problem in known.problems:
                _log.warning("%s", problem.message)
            self._read = (state, known)
        return known

    def _local_entries(self) -> tuple[LocalEntry, ...]:
        return tuple(entry for entry in self._file().entries if isinstance(entry, LocalEntry))

    def _all(self) -> tuple[Model, ...]:
        """Describe what there is, without saying which is the default: entries of the file before what they hide."""
        entries = self._file().entries
        changed_at = _changed_at(self._settings.models_file_path)
        named = [m for e in entries if (m := _describe_entry(e, changed_at)) is not None]
        hidden = {model.path for model in named} | {entry.model_id for entry in entries}
        found = (*_scan(EMBEDDED_PATH, "embedded"), *_scan(self._settings.models_path, "local"))
        return (*named, *(model for model in found if not {model.path, model.model_id} & hidden))

    def _default(self) -> Model:
        """Choose: the setting, else the one models.toml says, else the newest downloaded, else the embedded."""
        if self._settings.model:
            return self._as_default(self._named_by_setting(self._settings.model))
        for entry in self._file().entries:
            if entry.is_default:
                self._explain_missing(entry.model_id)
                return self._as_default(next(m for m in self._all() if m.model_id == entry.model_id))
        models = self._all()
        folder = self._settings.models_path
        downloaded = [m for m in models if m.source == "local" and Path(m.path).parent == folder]
        candidates = downloaded or [model for model in models if model.source == "embedded"]
        if not candidates:
            msg = "There is no model here, not even the embedded one; reinstall, or pull one."
            raise ModelNotFoundError(msg, param="model")
        return self._as_default(max(candidates, key=lambda model: (model.created_at, model.model_id)))

    def _named_by_setting(self, name: str) -> Model:
        if (model := _find(self._all(), name)) is not None:
            return model
        path = Path(name).expanduser()
        if name.endswith(SUFFIX) and path.is_file():
            return next((m for m in self._all() if Path(m.path) == path), None) or _describe(path, "local")
        self._explain_missing(name)
        msg = f"CINQUE_ENGINE_MODEL is {name!r}, which is neither a .gguf file nor a model here; correct or unset it."
        raise ModelNotFoundError(msg, param="model")

    def _as_default(self, model: Model) -> Model:
        aliases = tuple(dict.fromkeys((*model.aliases, *self._settings.model_aliases)))
        return replace(model, is_default=True, aliases=aliases)

    def _explain_missing(self, name: str) -> None:
        """Raise with the reason where models.toml has an entry of this name that cannot be used."""
        file, where = self._file(), self._settings.models_file_path
        for entry in self._local_entries():
            if name in (entry.model_id, *entry.aliases) and not _is_there(entry.path):
                msg = f"{where}, model {entry.model_id!r}, path: {_why_missing(entry.path)}"
                raise ModelNotFoundError(msg, param="model")
        for problem in file.problems:
            if problem.model_id == name:
                raise ModelNotFoundError(problem.message, param="model")


def _within_budget(settings: EngineSettings) -> EngineSettings:
    """Bound the KV cache by the budget where only that is set, or a model might not fit for its cache alone."""
    if settings.kv_cache_bytes or not settings.memory_budget_bytes:
        return settings
    return settings.model_copy(update={"kv_cache_bytes": settings.memory_budget_bytes // CACHE_SHARE})


def _find(models: tuple[Model, ...], name: str) -> Model | None:
    """Find by id, else by alias, else by the name of the file."""
    stem = name.removesuffix(SUFFIX)
    for is_meant in (
        lambda model: model.model_id in (name, stem),
        lambda model: name in model.aliases,
        lambda model: model.source != "remote" and _model_id(Path(model.path)) == stem,
    ):
        if (model := next(filter(is_meant, models), None)) is not None:
            return model
    return None


def _scan(folder: Path, source: Literal["embedded", "local"]) -> tuple[Model, ...]:
    """List the complete models of a folder; the parts of a split one count once."""
    paths = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
    return tuple(_describe(path, source) for path in sorted(paths) if _is_whole(path))


@lru_cache(maxsize=CHECKS_KEPT)
def _check_files(path: str, _size_bytes: int, _created_at: int) -> None:
    """Check the files; whoever raises is not cached, so a damaged file is looked at anew."""
    for part in split_parts(Path(path)):
        read_header(part)


def _is_whole(path: Path) -> bool:
    return path == split_parts(path)[0] and _is_there(path)


def _is_there(path: Path) -> bool:
    return all(part.is_file() for part in split_parts(path))


def _why_missing(path: Path) -> str:
    missing = next(part for part in split_parts(path) if not part.is_file())
    what = "is no file" if missing.exists() else "is not there"
    return f"{missing} {what}; put the model there, or correct the entry."


def _describe_entry(entry: Entry, changed_at: int) -> Model | None:
    """Describe an entry of models.toml; None when its file is missing."""
    if isinstance(entry, LocalEntry):
        if not _is_there(entry.path):
            return None
        model = replace(_describe(entry.path, "local"), model_id=entry.model_id)
    else:
        model = Model(entry.model_id, entry.urls[0], "remote", 0, changed_at, is_default=False, is_loaded=False)
    return replace(model, aliases=entry.aliases, context_tokens=entry.context_tokens)


def _describe(path: Path, source: Literal["embedded", "local"]) -> Model:
    states = [part.stat() for part in split_parts(path)]
    return Model(
        model_id=_model_id(path),
        path=str(path),
        source=source,
        size_bytes=sum(state.st_size for state in states),
        created_at=int(states[0].st_mtime),
        is_default=False,
        is_loaded=False,
    )


def file_state(path: Path) -> State:
    """Give what changes when a file is changed or replaced."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _changed_at(path: Path) -> int:
    state = file_state(path)
    return 0 if state is None else state[2] // 10**9


def _model_id(path: Path) -> str:
    match = SPLIT_NAME.fullmatch(path.name)
    return match["stem"] if match else path.stem


def _ignore(_progress: PullProgress) -> None:
    """Report to nobody."""
