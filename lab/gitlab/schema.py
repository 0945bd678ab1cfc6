"""The tables of the sandbox's SQLite file."""

from __future__ import annotations

VERSION = 3
"""Of the tables that are there; new ones are added to a file that has it."""
TABLES = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, name TEXT NOT NULL, admin INTEGER NOT NULL,
    created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, revoked INTEGER NOT NULL DEFAULT 0,
    expires_at TEXT, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, path TEXT NOT NULL, full_path TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES groups ON DELETE CASCADE, creator_id INTEGER NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, path TEXT NOT NULL, full_path TEXT NOT NULL UNIQUE,
    group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE, description TEXT, default_branch TEXT NOT NULL,
    build_timeout INTEGER NOT NULL, creator_id INTEGER NOT NULL, created_at TEXT NOT NULL,
    visibility TEXT NOT NULL DEFAULT 'private', merge_method TEXT NOT NULL DEFAULT 'merge',
    forked_from_id INTEGER REFERENCES projects ON DELETE SET NULL);
CREATE TABLE IF NOT EXISTS variables (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    key TEXT NOT NULL, value TEXT NOT NULL, variable_type TEXT NOT NULL, masked INTEGER NOT NULL,
    protected INTEGER NOT NULL, raw INTEGER NOT NULL, environment_scope TEXT NOT NULL DEFAULT '*',
    hidden INTEGER NOT NULL DEFAULT 0, description TEXT, UNIQUE (project_id, key, environment_scope));
CREATE TABLE IF NOT EXISTS runners (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, runner_type TEXT NOT NULL,
    group_id INTEGER REFERENCES groups ON DELETE CASCADE, description TEXT, paused INTEGER NOT NULL,
    locked INTEGER NOT NULL, run_untagged INTEGER NOT NULL, tags TEXT NOT NULL, access_level TEXT NOT NULL,
    maximum_timeout INTEGER, maintenance_note TEXT, creator_id INTEGER NOT NULL, created_at TEXT NOT NULL,
    contacted_at TEXT, ip_address TEXT, info TEXT NOT NULL, token_expires_at TEXT);
CREATE TABLE IF NOT EXISTS runner_managers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, runner_id INTEGER NOT NULL REFERENCES runners ON DELETE CASCADE,
    system_id TEXT NOT NULL, info TEXT NOT NULL, ip_address TEXT, created_at TEXT NOT NULL, contacted_at TEXT,
    UNIQUE (runner_id, system_id));
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS runner_projects (
    runner_id INTEGER NOT NULL REFERENCES runners ON DELETE CASCADE,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, PRIMARY KEY (runner_id, project_id));
CREATE TABLE IF NOT EXISTS pipelines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, iid INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, ref TEXT NOT NULL, tag INTEGER NOT NULL,
    sha TEXT NOT NULL, before_sha TEXT NOT NULL, source TEXT NOT NULL, status TEXT NOT NULL, variables TEXT NOT NULL,
    merge_request TEXT, user_id INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, started_at TEXT,
    finished_at TEXT);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    project_id INTEGER NOT NULL, name TEXT NOT NULL, stage TEXT NOT NULL, stage_index INTEGER NOT NULL,
    status TEXT NOT NULL, spec TEXT NOT NULL, tags TEXT NOT NULL, allow_failure INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, retried INTEGER NOT NULL DEFAULT 0, token_digest TEXT UNIQUE,
    runner_id INTEGER REFERENCES runners ON DELETE SET NULL, timeout INTEGER, failure_reason TEXT, exit_code INTEGER,
    environment TEXT, resource_group TEXT, artifacts_name TEXT, artifacts_size INTEGER, artifacts_expire_at TEXT,
    created_at TEXT NOT NULL, queued_at TEXT, started_at TEXT, finished_at TEXT,
    manager_id INTEGER REFERENCES runner_managers ON DELETE SET NULL);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE INDEX IF NOT EXISTS jobs_by_pipeline ON jobs (pipeline_id);
CREATE TABLE IF NOT EXISTS iids (
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, kind TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (project_id, kind));
CREATE TABLE IF NOT EXISTS merge_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, iid INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    source_project_id INTEGER REFERENCES projects ON DELETE SET NULL, source_branch TEXT NOT NULL,
    target_branch TEXT NOT NULL, title TEXT NOT NULL, description TEXT, labels TEXT NOT NULL, state TEXT NOT NULL,
    sha TEXT NOT NULL, base_sha TEXT NOT NULL, author_id INTEGER NOT NULL, created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL, closed_at TEXT, merged_at TEXT, merge_user_id INTEGER, merge_commit_sha TEXT,
    force_remove_source_branch INTEGER NOT NULL, UNIQUE (project_id, iid));
CREATE TABLE IF NOT EXISTS issues (
    id INTEGER PRIMARY KEY AUTOINCREMENT, iid INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE, title TEXT NOT NULL, description TEXT,
    labels TEXT NOT NULL, state TEXT NOT NULL, author_id INTEGER NOT NULL, created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL, closed_at TEXT, UNIQUE (project_id, iid));
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    merge_request_id INTEGER REFERENCES merge_requests ON DELETE CASCADE,
    issue_id INTEGER REFERENCES issues ON DELETE CASCADE, body TEXT NOT NULL, author_id INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    description TEXT NOT NULL, ref TEXT NOT NULL, cron TEXT NOT NULL, cron_timezone TEXT NOT NULL,
    active INTEGER NOT NULL, variables TEXT NOT NULL, owner_id INTEGER NOT NULL,
    last_pipeline_id INTEGER REFERENCES pipelines ON DELETE SET NULL, created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS environments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
    name TEXT NOT NULL, slug TEXT NOT NULL, tier TEXT NOT NULL, external_url TEXT, state TEXT NOT NULL,
    auto_stop_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (project_id, name));
"""
