"""How a harness tells the host what happened: JSON lines in a piece of shared memory, each signed with a nonce.

Shared memory rather than a descriptor, so a program finds nothing in /proc/self/fd, output cannot be mistaken for
results, and what was written survives a kill. A program in the same process can still find the memory and the nonce
if it is written to attack exactly this: such results are labelled `in_process`.
"""

import json
import mmap

CAPACITY_BYTES = 1 << 20  # enough for some 5,000 tests; a record that does not fit is dropped, so the run cannot pass
MAX_TEXT_CHARS = 2000  # of one text field; longer ones keep their start


class Recorder:
    """Appends records to the shared memory. Field values are strings, numbers, booleans, None or lists of them."""

    __slots__ = ("add",)

    def __init__(self, memory: mmap.mmap, nonce: str) -> None:
        # State lives in a closure: there is no attribute to follow from the object to the nonce.
        position = 0
        dumps = json.dumps

        def add(event: str, **fields: object) -> None:
            nonlocal position
            cut = {key: value[:MAX_TEXT_CHARS] if isinstance(value, str) else value for key, value in fields.items()}
            line = (dumps({"nonce": nonce, "event": event, **cut}) + "\n").encode()
            if position + len(line) <= len(memory):
                memory[position : position + len(line)] = line
                position += len(line)

        self.add = add


def parse(raw: bytes, nonce: str) -> list[dict[str, object]]:
    """Return the records that carry the nonce, in order. Anything else in the memory is ignored."""
    found: list[dict[str, object]] = []
    for line in raw.partition(b"\0")[0].split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn by a kill, or not ours
        if isinstance(record, dict) and record.get("nonce") == nonce and isinstance(record.get("event"), str):
            found.append(record)
    return found
