"""Target `raspberry-pi`: the parts of a Docker host on a small board, as containers or on a swarm."""
