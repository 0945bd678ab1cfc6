"""The embedded default: a small GitLab for real runners and API clients. docs/lab/sandbox.md says what it does."""
