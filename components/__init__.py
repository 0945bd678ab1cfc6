"""Reusable component resources, a platform each, and the pure code they share."""
