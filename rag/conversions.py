"""Where converted embedding models lie, and whether one is there or being made: all without reading any.

Light enough for a status: needs no NumPy. `converted_model` makes and opens what lies here, and holds the lock while it
does.
"""

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from rag.settings import RagSettings

# Written last into the folder of a converted model: what was chosen, and from what.
CHOICE_FILE: Final = "choice.json"


def conversion_folder(settings: RagSettings) -> Path:
    """Name the folder of one model and one setting of the backend, so that two settings do not undo each other."""
    model = settings.embedding_model
    digest = hashlib.sha256(model.encode("utf-8", "replace")).hexdigest()[:8]
    readable = "".join(char if char.isalnum() or char in "-." else "-" for char in model.rpartition("/")[2])
    return settings.folder / "models" / f"{readable[:60].lstrip('.')}-{digest}" / settings.embedding_backend


def lock_file(settings: RagSettings) -> Path:
    """Name the file that is locked while the model is converted."""
    folder = conversion_folder(settings)
    return folder.with_name(f"{folder.name}.lock")


def is_being_converted(settings: RagSettings) -> bool:
    """Tell whether some thread or process converts the model right now."""
    try:
        descriptor = os.open(lock_file(settings), os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return False
    except OSError as error:
        if error.errno == errno.EROFS:  # a folder that can only be read
            return False
        raise
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def describe_conversion(settings: RagSettings) -> str:
    """Say what is known of the conversion, to follow what is said of the weights; "" where there is nothing to add."""
    if is_being_converted(settings):
        return "; they are being converted for it now, once, up to two minutes: queries go by words until then"
    if settings.embedding_backend == "torch" or (conversion_folder(settings) / CHOICE_FILE).is_file():
        return ""
    return "; the first index converts them for it, once, up to two minutes"


def try_lock(descriptor: int) -> bool:
    """Lock an open file, until it is closed; False when another one holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
