"""Puts the engine, the plugins and Docker on a bare machine. Standard library only: it runs first of all."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this package is what meets the machine's Python first
    sys.exit(f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: run a newer python3")
