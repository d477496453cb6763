"""What runs on the other side of the wall: the zygote, one job, and the harnesses that drive a candidate.

Modules here use the standard library and one another, nothing else: they are loaded by a bare interpreter without
site-packages. The host side (`sandbox/*.py`) never imports them except for the names of kinds and records.
"""
