"""Every door of Cinque, one line each."""

from shim.doors.atlas import lens, llama, proxy, sandbox
from shim.doors.door import Door

DOORS: tuple[Door, ...] = (
    proxy.DOOR,
    lens.DOOR,
    sandbox.DOOR,
    llama.DOOR,
)
