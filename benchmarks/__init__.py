"""Runnable claims. Python puts the folder of a script first in its path, where `sandbox.py` would hide the package."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != HERE]
