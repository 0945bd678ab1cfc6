"""What the targets on a Docker engine have in common."""
