"""The `kubernetes` plugin: any kind that the API server serves, updated by server-side apply."""
