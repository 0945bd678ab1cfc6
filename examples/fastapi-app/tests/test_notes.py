from __future__ import annotations

import uuid

import httpx


def make_note(client: httpx.Client, title: str = "Shopping", body: str = "bread, milk") -> dict[str, object]:
    answer = client.post("/notes", json={"title": title, "body": body})
    assert answer.status_code == 201, answer.text
    note: dict[str, object] = answer.json()
    return note


def test_the_service_says_that_its_database_answers(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_new_note_can_be_read_back(client: httpx.Client) -> None:
    note = make_note(client)
    assert client.get(f"/notes/{note['id']}").json() == note
    assert (note["title"], note["body"]) == ("Shopping", "bread, milk")


def test_a_note_without_a_title_is_refused(client: httpx.Client) -> None:
    answer = client.post("/notes", json={"title": "", "body": "?"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "title"]


def test_a_replaced_note_keeps_its_id_and_its_date(client: httpx.Client) -> None:
    note = make_note(client)
    answer = client.put(f"/notes/{note['id']}", json={"title": "Shopping, later", "body": "eggs"})
    assert answer.json() == {**note, "title": "Shopping, later", "body": "eggs"}


def test_a_deleted_note_is_gone(client: httpx.Client) -> None:
    path = f"/notes/{make_note(client)['id']}"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_a_search_finds_title_and_body_whatever_the_case_newest_first(client: httpx.Client) -> None:
    word = uuid.uuid4().hex
    in_title = make_note(client, title=f"About {word.upper()}")
    in_body = make_note(client, body=f"see {word}")
    make_note(client)
    assert client.get("/notes", params={"search": word}).json() == [in_body, in_title]
    assert client.get("/notes", params={"search": word, "limit": 1}).json() == [in_body]


def test_text_that_looks_like_sql_is_only_text(client: httpx.Client) -> None:
    title = "Robert'); DROP TABLE notes;-- 100%"
    note = make_note(client, title=title)
    assert note in client.get("/notes", params={"search": title}).json()
