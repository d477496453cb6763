"""`models.toml`: names, settings and whereabouts of models, on this machine and elsewhere.

One `[[models]]` table a model, with `path` for a file here or `url` for a server that speaks OpenAI's API. An entry
that cannot be used is left out and told as a `Problem`; the others work. Keys of servers stay in the environment.
Knows neither what is in the models folder nor what is loaded; `catalog` joins the three. Described in docs/models.md.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.settings import EngineSettings

TABLE = "models"
HEADER = re.compile(rf"^\s*\[\[\s*{TABLE}\s*\]\]")
KEY_IN_FILE = "a key does not belong in this file; put it into the environment and name its variable in `api_key_env`."
NAME = re.compile(r"[\w.:/@+-]{1,200}", re.ASCII)  # of ids and aliases; they stand in URLs and logs
RESERVED_NAMES = ("default",)  # mean the default model everywhere
LOCAL_FIELDS = frozenset({"path", "context_tokens", "keep_alive_s", "draft"})
REMOTE_FIELDS = frozenset({"url", "model", "api_key_env", "context_tokens"})
SHARED_FIELDS = frozenset({"id", "aliases", "default"})
PROCESS_WIDE = frozenset(  # settings of the engine that one model cannot have for itself
    {"home", "model", "model_aliases", "models_file", "memory_budget_bytes", "max_loaded_models", "max_waiting"}
    | {"max_tokenize_bytes", "hub_endpoint", "pull_timeout_s", "max_context_tokens", "keep_alive_s"}
)


@dataclass(frozen=True)
class LocalEntry:
    """A model whose file is on this machine."""

    model_id: str
    path: Path  # absolute; the file may be missing
    aliases: tuple[str, ...] = ()
    is_default: bool = False
    context_tokens: int | None = None  # None: as the settings say
    keep_alive_s: float | None = None  # negative: always; None: as the settings say
    draft: str | None = None  # id of the model that guesses for this one
    overrides: Mapping[str, Any] = field(default_factory=dict)  # fields of EngineSettings for this model alone

    def apply_to(self, settings: EngineSettings) -> EngineSettings:
        """Give the settings of this model."""
        changes = dict(self.overrides)
        if self.context_tokens is not None:
            changes["max_context_tokens"] = self.context_tokens
        own = settings.model_copy()
        for name, value in changes.items():  # validated one by one: made anew, they would read the environment again
            EngineSettings.__pydantic_validator__.validate_assignment(own, name, value)
        return own


Entry = LocalEntry | RemoteModel


@dataclass(frozen=True)
class Problem:
    """One thing in the file that is not as it should be."""

    message: str  # where, what and what to do
    model_id: str | None = None  # of the entry that is left out for it


@dataclass(frozen=True)
class ModelsFile:
    """What the file says."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_readable: bool = True  # False: nothing of it could be read, not even to say which models it has


def read_models_file(path: Path, settings: EngineSettings) -> ModelsFile:
    """Read the file; one that is not there has no entries and no problems."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return ModelsFile()
    except OSError as error:
        return _unreadable(
            f"{path} cannot be read ({error.strerror}); correct its rights or CINQUE_ENGINE_MODELS_FILE."
        )
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return _unreadable(f"{path} is not TOML in UTF-8: {error}. Correct it; until then it counts as before.")
    tables = content.pop(TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        return _unreadable(f"{path}: `{TABLE}` must be tables; begin each model with a line `[[{TABLE}]]`.")
    reading = _Reading(path, settings, text)
    for name in content:
        reading.problems.append(Problem(f"{path}: {name!r} means nothing here; begin each model with `[[{TABLE}]]`."))
    return reading.read(tables)


class _Reading:
    """One pass over the tables of one file."""

    def __init__(self, path: Path, settings: EngineSettings, text: str) -> None:
        self._path = path
        self._settings = settings
        self._lines = [number for number, line in enumerate(text.splitlines(), 1) if HEADER.match(line)]
        self._entries: dict[str, Entry] = {}
        self.problems: list[Problem] = []

    def read(self, tables: list[dict[str, Any]]) -> ModelsFile:
        for position, table in enumerate(tables):
            where = self._where(position, len(tables), table.get("id"))
            try:
                entry = _entry(table, self._path.parent, self._settings)
            except ValueError as error:
                reasons = _reasons(error) if isinstance(error, ValidationError) else str(error)
                name = table.get("id")
                self.problems.append(Problem(f"{where}: {reasons}", name if isinstance(name, str) else None))
                continue
            if entry.model_id in self._entries:
                self.problems.append(Problem(f"{where}: an entry before it has the same id; give it another."))
                continue
            self._entries[entry.model_id] = entry
            self._check_default(entry, where)
        self._check_names()
        return ModelsFile(tuple(self._entries.values()), tuple(self.problems))

    def _where(self, position: int, n_tables: int, name: object) -> str:
        line = f", line {self._lines[position]}" if len(self._lines) == n_tables else ""
        return f"{self._path}{line}, model {name!r}" if name else f"{self._path}{line}, model {position + 1}"

    def _check_default(self, entry: Entry, where: str) -> None:
        if entry.is_default and sum(other.is_default for other in self._entries.values()) > 1:
            message = f"{where}, default: an entry before it is the default already; leave `default` to one."
            self.problems.append(Problem(message))

    def _check_names(self) -> None:
        """Drop aliases that mean something else already, and drafts that mean nothing."""
        owners: dict[str, str] = {name: name for name in self._entries}
        for name, entry in self._entries.items():
            where = f"{self._path}, model {name!r}"
            for alias in entry.aliases:
                if (owner := owners.setdefault(alias, name)) != name:
                    self.problems.append(Problem(f"{where}, aliases: {alias!r} means {owner!r} already; drop it."))
            aliases = tuple(alias for alias in dict.fromkeys(entry.aliases) if owners[alias] == name)
            self._entries[name] = replace(entry, aliases=aliases)
            if isinstance(entry, LocalEntry) and entry.draft == name:
                self.problems.append(Problem(f"{where}, draft: a model cannot guess for itself; name a smaller one."))
                self._entries[name] = replace(entry, aliases=aliases, draft=None)


class _Table(BaseModel):
    """The fields of one table; what is not here must be a setting of the engine."""

    model_config = ConfigDict(extra="allow")

    id: str
    path: str = Field(default="", min_length=1)
    url: str | tuple[str, ...] = ()
    model: str = Field(default="", min_length=1)
    api_key_env: str = Field(default="", pattern=r"^[A-Za-z_]\w*$")
    aliases: tuple[str, ...] = ()
    context_tokens: int | None = Field(default=None, ge=64)
    keep_alive_s: float | None = Field(default=None, allow_inf_nan=False)
    draft: str | None = None
    default: bool = False

    @field_validator("id")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            msg = f"{name!r} cannot be a name; use up to 200 letters, digits and . _ : / @ + -, and not `default`"
            raise ValueError(msg)
        return name

    @field_validator("aliases")
    @classmethod
    def _names(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._a_name(alias) for alias in aliases)


def _entry(table: dict[str, Any], folder: Path, settings: EngineSettings) -> Entry:
    """Make an entry of a table.

    Raises:
        ValueError: It cannot be one (pydantic's own among them); the message says why and what to do.
    """
    if "api_key" in table:
        msg = f"api_key: {KEY_IN_FILE}"
        raise ValueError(msg)
    fields = _Table.model_validate(table)
    if bool(fields.path) == bool(fields.url):
        msg = "give either `path`, for a .gguf file here, or `url`, for a server that runs the model."
        raise ValueError(msg)
    return _local_entry(fields, folder, settings) if fields.path else _remote_entry(fields)


def _local_entry(fields: _Table, folder: Path, settings: EngineSettings) -> LocalEntry:
    _refuse(fields, REMOTE_FIELDS - LOCAL_FIELDS, "is for a model with a `url`; drop it.")
    overrides = dict(fields.model_extra or {})
    for name in overrides:
        if name not in EngineSettings.model_fields or name in PROCESS_WIDE:
            own = sorted((LOCAL_FIELDS | SHARED_FIELDS | set(EngineSettings.model_fields)) - PROCESS_WIDE)
            msg = f"{name}: there is no such field; a model has {', '.join([*own, 'keep_alive_s'])}."
            raise ValueError(msg)
    entry = LocalEntry(
        model_id=fields.id,
        path=folder / Path(fields.path).expanduser(),
        aliases=fields.aliases,
        is_default=fields.default,
        context_tokens=fields.context_tokens,
        keep_alive_s=fields.keep_alive_s,
        draft=fields.draft,
        overrides=overrides,
    )
    entry.apply_to(settings)  # raises where a setting cannot have this value
    return entry


def _remote_entry(fields: _Table) -> RemoteModel:
    _refuse(fields, LOCAL_FIELDS - REMOTE_FIELDS, "is for a model with a `path`; drop it.")
    for name in fields.model_extra or {}:
        own = ", ".join(sorted(REMOTE_FIELDS | SHARED_FIELDS))
        msg = f"{name}: there is no such field; a remote model has {own}."
        raise ValueError(msg)
    if fields.api_key_env and not os.environ.get(fields.api_key_env):
        msg = f"api_key_env: the environment has no {fields.api_key_env}; set it, or drop this where no key is needed."
        raise ValueError(msg)
    return RemoteModel(
        model_id=fields.id,
        urls=tuple(map(_checked_url, (fields.url,) if isinstance(fields.url, str) else fields.url)),
        upstream_model=fields.model,
        api_key_env=fields.api_key_env or None,
        aliases=fields.aliases,
        is_default=fields.default,
        context_tokens=fields.context_tokens,
    )


def _refuse(fields: _Table, names: frozenset[str], why: str) -> None:
    for name in sorted(names & fields.model_fields_set):
        msg = f"{name}: {why}"
        raise ValueError(msg)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        msg = f"url: {url!r} is not the address of a server; write it like http://host:8000/v1."
        raise ValueError(msg)
    if parts.username or parts.password:
        msg = f"url: {KEY_IN_FILE}"
        raise ValueError(msg)
    return url.rstrip("/")


def _reasons(error: ValidationError) -> str:
    """Say what pydantic found, field by field, without the values: one may be a key in the wrong place."""
    lines = (
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()
    )
    return "; ".join(lines) + ". Correct it."


def _unreadable(message: str) -> ModelsFile:
    return ModelsFile(problems=(Problem(message),), is_readable=False)
