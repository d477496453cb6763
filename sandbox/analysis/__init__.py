"""Explains a failed run: what kind of failure, where in the program, what to change, and what to ask a model.

`analyze` is pure and synchronous: it reads the texts of a run and the facts that the sandbox observed, executes nothing
and keeps nothing. Reading order: text, cause, the readers (python_traces, javascript_traces, compilers, crashes),
explain, advice, prompt. It knows nothing of how programs run, of HTTP or of models.
"""

from sandbox.analysis.explain import analyze

__all__ = ["analyze"]
