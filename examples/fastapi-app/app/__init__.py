"""A small notes service: FastAPI in front of Postgres."""
