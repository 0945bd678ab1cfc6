"""Puts the engine, the plugins and Docker on a bare machine. Standard library only: it runs first of all."""
