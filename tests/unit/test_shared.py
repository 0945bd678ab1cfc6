"""Settings that all stacks share, below a stack's own."""

from __future__ import annotations

import pytest

from stacks.settings.mistakes import SettingsError
from stacks.settings.shared import merged


def test_without_shared_settings_the_stacks_own_are_all_there_is() -> None:
    own = {"target": "gke"}
    assert merged(None, own) is own


def test_tables_are_merged_key_by_key_and_the_stacks_own_win() -> None:
    shared = {"gitlab": {"url": "https://gitlab.example.com", "scope": "group"}, "log_level": "warn"}
    own = {"gitlab": {"scope": "project", "project": "a/b"}, "concurrent": 2}
    assert merged(shared, own) == {
        "gitlab": {"url": "https://gitlab.example.com", "scope": "project", "project": "a/b"},
        "log_level": "warn",
        "concurrent": 2,
    }


def test_lists_are_replaced_as_a_whole() -> None:
    assert merged({"runners": [{"name": "a"}, {"name": "b"}]}, {"runners": [{"name": "c"}]}) == {
        "runners": [{"name": "c"}]
    }


def test_null_takes_a_shared_setting_back() -> None:
    shared = {"gitlab": {"url": "https://gitlab.example.com", "group": "a"}, "log_level": "warn", "daemon": {"cpus": 1}}
    own = {"gitlab": {"group": None}, "log_level": None, "daemon": None}
    assert merged(shared, own) == {"gitlab": {"url": "https://gitlab.example.com"}}


def test_null_where_nothing_is_shared_is_the_stacks_own() -> None:
    assert merged({"gitlab": {}}, {"gitlab": {"group": None}, "daemon": None}) == {
        "gitlab": {"group": None},
        "daemon": None,
    }


def test_neither_side_is_changed() -> None:
    shared, own = {"daemon": {"cpus": 1}}, {"daemon": {"memory_mib": 512}}
    merged(shared, own)
    assert (shared, own) == ({"daemon": {"cpus": 1}}, {"daemon": {"memory_mib": 512}})


def test_what_is_no_table_on_the_stacks_side_is_left_to_be_refused() -> None:
    assert merged({"log_level": "warn"}, ["docker-host"]) == ["docker-host"]
    assert merged({"daemon": {"cpus": 1}}, {"daemon": "big"}) == {"daemon": "big"}


def test_shared_settings_that_are_no_table_are_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        merged(["warn"], {})
    assert str(caught.value) == (
        "shared: is no table: write what all stacks have in common below its `value` in Pulumi.yaml"
    )
