"""Progress, limits, locks and whole files."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain import shared


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 00 s"), (200, "3 min 20 s")]
)
def test_a_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert shared.elapsed(seconds) == text


def test_a_line_begins_with_the_time_since_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    shared.make_say(time.monotonic() - 200)("building")
    assert capsys.readouterr().err == "[3 min 20 s] building\n"


def test_long_work_is_reported_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_HEARTBEAT_SECONDS", 0.02)
    lines: list[str] = []
    with shared.progress(lines.append, "building"):
        time.sleep(0.2)
    assert lines[0] == "building …"
    assert re.fullmatch(r"building … 0\.\d s", lines[1])
    assert re.fullmatch(r"building: done in 0\.\d s", lines[-1])


def test_failed_work_is_not_reported_as_done() -> None:
    lines: list[str] = []
    with pytest.raises(ValueError, match="broken"), shared.progress(lines.append, "building"):
        raise ValueError("broken")
    assert lines[-1] == "building: failed after 0.0 s"


def test_a_command_that_fails_tells_its_exit_code_and_last_lines() -> None:
    with pytest.raises(shared.ToolchainError) as caught:
        shared.run(_python("import sys; print('no disk', file=sys.stderr); sys.exit(3)"), limit=30, what="making it")
    assert str(caught.value) == "making it: failed with exit code 3.\n    no disk"


def test_a_command_that_fills_the_disk_is_told_with_the_remedy() -> None:
    code = "import sys; sys.exit('write /cache/a: no space left on device')"
    with pytest.raises(shared.ToolchainError) as caught:
        shared.run(_python(code), limit=30, what="making it")
    assert str(caught.value) == (
        "making it: no space is left on its device: free some (`docker system df` and `du -sh ~/.cache` show what "
        "takes it) and repeat; what is done already is kept.\n    write /cache/a: no space left on device"
    )


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(shared.ToolchainError) as caught:
        shared.run(["no-such-program"], limit=30, what="making it")
    assert str(caught.value) == "making it: cannot run no-such-program: No such file or directory"


def test_a_command_over_its_limit_is_stopped_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(shared.LimitReached) as caught:
        shared.run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], limit=0.5, what="waiting")
    assert str(caught.value) == "waiting: not finished after 0.5 s, stopped."
    child = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    give_up = time.monotonic() + 10  # a signal that is on its way may take a moment
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < give_up, "the child still runs"
        time.sleep(0.05)


def test_a_command_of_root_that_may_not_be_signalled_is_still_reported_as_over_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    with pytest.raises(shared.LimitReached) as caught:
        shared.run(["sleep", "1"], limit=0.1, what="waiting")
    assert str(caught.value) == "waiting: not finished after 0.1 s, stopped."


def test_the_log_of_a_command_is_kept_and_named_where_it_fails(tmp_path: Path) -> None:
    log = tmp_path / "log" / "it.log"
    with pytest.raises(shared.ToolchainError, match=re.escape(f"Its whole output is in {log}.")):
        shared.run(_python("print('first'); raise SystemExit(1)"), limit=30, log=log)
    assert log.read_text() == "first\n"


def test_a_lock_is_waited_for_and_the_wait_has_a_limit(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lines: list[str] = []
    with shared.file_lock(lock, say=lines.append):
        with pytest.raises(shared.LimitReached) as caught, shared.file_lock(lock, say=lines.append, limit=0.3):
            pass
        assert str(caught.value) == f"waited 0.3 s for another process that holds {lock}; see `fuser {lock}`"
    assert lines == [f"waiting for another process that holds {lock}"]


TRUST = "and programs are run from it: delete it, or, if you trust what is in it, run: "
OWN = "; or set DINDRUNNER_CACHE to a directory of your own"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757, 0o775])
def test_a_cache_that_others_can_write_is_refused(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "a cache"
    cache.mkdir()
    cache.chmod(mode)
    monkeypatch.setenv("DINDRUNNER_CACHE", str(cache))
    monkeypatch.setattr(shared, "_is_of_one", lambda _group, _user: False)
    with pytest.raises(shared.ToolchainError) as caught:
        shared.cache_dir()
    assert str(caught.value) == (
        f"{cache}: has mode {mode:04o}, so that others can write there, {TRUST}chmod go-w '{cache}'{OWN}"
    )


def test_a_cache_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    own, other = os.stat_result((0o40755, 0, 0, 1, 4242, 0, 0, 0, 0, 0)), os.geteuid()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: own)
    with pytest.raises(shared.ToolchainError) as caught:
        shared.cache_dir()
    assert str(caught.value) == (
        f"{tmp_path}: belongs to user 4242, and this is user {other}, {TRUST}chown -R {other} {tmp_path}{OWN}"
    )


def test_a_cache_of_a_user_with_a_group_of_its_own_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    tmp_path.chmod(0o775)
    monkeypatch.setattr(shared, "_is_of_one", lambda _group, _user: True)
    assert shared.cache_dir() == tmp_path


def _archive(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for entry in entries:
            tar.addfile(entry)
    return path


def _entry(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        _entry("../out"),
        _entry("/tmp/out-of-it"),
        _entry("a/../../out"),
        _entry("link", tarfile.SYMTYPE, target="/etc"),
        _entry("hard", tarfile.LNKTYPE, target="../out"),
        _entry("device", tarfile.CHRTYPE),
        _entry("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda entry: entry.name,
)
def test_an_archive_that_leads_out_of_its_folder_is_not_unpacked(entry: tarfile.TarInfo, tmp_path: Path) -> None:
    archive = _archive(tmp_path / "x.tgz", _entry("first"), entry)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(shared.ToolchainError) as caught:
        shared.unpack(archive, folder)
    assert str(caught.value) == (
        f"x.tgz: holds {entry.name!r}, which is no file or directory inside of it; it is not used"
    )
    assert list(folder.iterdir()) == []


def test_what_is_unpacked_has_no_rights_of_others(tmp_path: Path) -> None:
    shared.unpack(_archive(tmp_path / "x.tgz", _entry("program", mode=0o6777), _entry("text", mode=0o666)), tmp_path)
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in ("program", "text")] == [0o755, 0o644]


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from toolchain.shared import file_lock\n"
        f"with file_lock(Path({str(lock)!r}), say=print): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(_python(code), cwd=shared.ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    with shared.file_lock(lock, say=lambda _: None, limit=1):
        pass


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "settings"
    shared.write_atomic(target, "old", mode=0o600)

    def no_space(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        shared.write_atomic(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["settings"]
    assert target.read_text() == "old"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_directory_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "plugin"
    with shared.whole_directory(target) as folder:
        (folder / "program").write_text("old")
    with pytest.raises(KeyboardInterrupt), shared.whole_directory(target) as folder:
        (folder / "program").write_text("half")
        raise KeyboardInterrupt
    assert (target / "program").read_text() == "old"
    with shared.whole_directory(target) as folder:
        (folder / "program").write_text("new")
    assert (target / "program").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_half_done_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".plugin.tmpabc"
    leftover.mkdir()
    (leftover / "program").write_text("half")
    with shared.whole_directory(tmp_path / "plugin"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["plugin"]


def test_a_linked_file_replaces_the_one_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "target").write_text("old")
    shared.link_or_copy(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"


def test_the_parts_of_a_digest_are_told_apart() -> None:
    assert shared.digest_of("ab", "c") != shared.digest_of("a", "bc")
    assert shared.digest_of("ab", "c") == shared.digest_of(b"ab", "c")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"DINDRUNNER_CACHE": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/gitlab-dind-runners"),
        ({"HOME": "/c"}, "/c/.cache/gitlab-dind-runners"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DINDRUNNER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert shared.cache_dir() == Path(expected)


def test_a_site_that_nobody_serves_is_not_reachable() -> None:
    assert not shared.reachable("http://127.0.0.1:9/", limit=2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell a child that its parent was killed")
def test_a_site_that_does_not_speak_http_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert not shared.reachable(f"http://127.0.0.1:{server.getsockname()[1]}/", limit=5)
        thread.join(10)


def test_a_command_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = f"['sh', '-c', 'echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60']"
    code = f"from toolchain.shared import run; run({command}, limit=60)"
    with subprocess.Popen(_python(code), cwd=shared.ROOT) as parent:
        _wait_until(pid_file.exists)
        parent.send_signal(signal.SIGKILL)
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    _wait_until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z")


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
