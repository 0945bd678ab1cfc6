"""Reusable Pulumi components, a folder for each platform, and the pure code that they share."""
