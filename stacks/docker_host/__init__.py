"""Target `docker-host`: everything on one Docker engine."""
