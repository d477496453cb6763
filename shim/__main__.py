"""`python -m shim`: the same as `cinque`."""

from shim.cli import main

main()
