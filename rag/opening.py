"""Which store keeps the collections: a folder of this machine, or the database that the settings name.

Needs neither NumPy nor psycopg until one is opened. Knows nothing of what is stored.
"""

import importlib.util
from typing import TYPE_CHECKING, Final

from rag.catalog import Catalog
from rag.errors import StoreUnavailableError
from rag.settings import RagSettings

if TYPE_CHECKING:
    from rag.store import Store

_PACKAGES: Final = ("psycopg", "pgvector")


def open_store(settings: RagSettings) -> "Store":
    """Make the store that the settings name; it is not asked for anything yet.

    Raises:
        StoreUnavailableError: a database is named by what is no URL, or what it needs is not installed.
    """
    if not settings.database_url.get_secret_value():
        from rag.folder_store import FolderStore  # noqa: PLC0415 - loads NumPy

        return FolderStore(settings.folder, max_open=settings.max_open_collections)
    _check_installed()
    from rag.postgres.store import PostgresStore  # noqa: PLC0415 - an extra

    return PostgresStore(settings.database_url, settings.folder, max_open=settings.max_open_collections)


def count_collections(settings: RagSettings) -> int:
    """Count the collections of the store that the settings name, without opening one.

    Raises:
        StoreUnavailableError: the database cannot be used.
    """
    if not settings.database_url.get_secret_value():
        return Catalog(settings.folder / "catalog.sqlite3").count()
    _check_installed()
    from rag.postgres.catalog import PostgresCatalog  # noqa: PLC0415 - an extra
    from rag.postgres.database import Database  # noqa: PLC0415 - as above

    database = Database(settings.database_url)
    try:
        return PostgresCatalog(database).count()
    finally:
        database.close()


def describe_store(settings: RagSettings) -> str:
    """Say what keeps the collections: a folder, or the URL of a database without its password."""
    if not settings.database_url.get_secret_value():
        return str(settings.folder)
    try:
        _check_installed()
        from rag.postgres.database import Database  # noqa: PLC0415 - an extra

        return Database(settings.database_url).name
    except StoreUnavailableError:
        return "a database"


def _check_installed() -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise StoreUnavailableError(
                f"CINQUE_RAG_DATABASE_URL is set and {package} is not installed; pip install 'cinque[postgres]'"
            )
