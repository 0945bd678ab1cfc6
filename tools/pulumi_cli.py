"""Runs Pulumi's CLI: with a limit on time, with progress in the log, and with no secret in what comes out of it.

Not by `pulumi.automation`, whose calls can neither be limited in time nor be told to end, in Python: see
docs/decisions/0013-the-cli-not-its-automation-api.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import yaml

from stacks.settings.mistakes import SettingsError, shown
from tools import secrets
from tools.failures import SAYS_NOTHING, Failure, Kind, explain, explain_timeout
from tools.secrets import Masker
from tools.stack_files import PROJECT
from tools.steps import Plan, read_plan

PREVIEW_SECONDS = 900.0
"""How long a preview may take; it pulls nothing and waits for no job."""

SHORT_SECONDS = 60.0
PROGRESS_SECONDS = 10.0
KILL_SECONDS = 15.0
"""How long a Pulumi that only looks may take to end once it is asked to."""
HEARD_SECONDS = 2.0
HEARD = "received; cancelling"
"""What Pulumi says within that time of a signal that it got itself."""

PARALLEL = ("--parallel", "8")
"""As the Makefile has it: each is a connection of its own to an engine by SSH, and sshd refuses some above 10."""

NAME_LENGTH = 100
NAME = rf"[A-Za-z0-9_.-]{{1,{NAME_LENGTH}}}"
"""What Pulumi takes for the name of a project or a stack."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """A command that has ended. status: None where its time was over."""

    status: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Previewed:
    """What a preview led to. violations: of policies; mandatory: whether one of them refuses the update."""

    plan: Plan | None
    failure: Failure | None
    violations: tuple[str, ...] = ()
    mandatory: bool = False
    is_new: bool = False


def say(text: str) -> None:
    """A line for the job's log, at once."""
    print(text, flush=True)


class Stack:
    """A stack of the project in the current directory, in the backend of PULUMI_BACKEND_URL.

    environment: variables that Pulumi gets besides those of this process. Raises SettingsError where its name, or the
    project's, is none that Pulumi takes: they stand in notes, in comments of HTML and in names of files.
    """

    def __init__(self, name: str, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.directory = directory or Path.cwd()
        self._environment = {"PULUMI_DEBUG_COMMANDS": "true", **(environment or {})}
        self.project = str(_yaml(self.directory / "Pulumi.yaml").get("name", PROJECT))
        for where, what, given in (("--stack", "stack", name), ("Pulumi.yaml: name", "project", self.project)):
            if not re.fullmatch(NAME, given):
                raise SettingsError(
                    f"{where}: {shown(given[:NAME_LENGTH])} is no name of a {what}: use up to {NAME_LENGTH} letters, "
                    "digits, - _ and ."
                )
        self.masker = Masker(self._secrets(None))

    @property
    def settings_file(self) -> Path:
        """`Pulumi.<stack>.yaml`."""
        return self.directory / f"Pulumi.{self.name}.yaml"

    @property
    def secrets_provider(self) -> str:
        """What encrypts its secrets, for example `awskms://...`; empty for a passphrase."""
        found = str(_yaml(self.settings_file).get("secretsprovider") or "")
        return "" if found in ("passphrase", "default") else found

    @property
    def backend(self) -> str:
        """The backend's URL, without secrets."""
        return self.masker.text(os.environ.get("PULUMI_BACKEND_URL") or "the backend that is logged in to")

    def learn_secrets(self) -> None:
        """Hide from now on what the settings have encrypted, as far as it can be decrypted here."""
        done = self._run(["config", "--show-secrets", "--json"], SHORT_SECONDS)
        if done.status == 0:
            self.masker = Masker(self._secrets(json.loads(done.stdout)))

    def preview(self, policies: Sequence[str] = ()) -> Previewed:
        """What an update would change; a stack that the backend does not know is previewed without touching it.

        policies: Pulumi's options for them.
        """
        if not self.settings_file.exists():
            text = f"{self.settings_file.name}: is missing: copy Pulumi.dev.yaml and change its settings"
            return Previewed(None, Failure(Kind.SETTINGS, (text,)))
        found = self._preview(["preview", *policies])
        if found.failure is None or found.failure.kind is not Kind.UNKNOWN_STACK:
            return found
        say(f"{self.backend} has no stack {self.name} yet: it is previewed as a new one, against a temporary state")
        with self._as_new() as new:
            found = new._preview(["preview", *policies])
        self.masker = new.masker
        return replace(found, is_new=True)

    def drift(self) -> Previewed:
        """What differs between the stack's state and what is really there."""
        return self._preview(["refresh", "--preview-only"])

    def lock(self) -> str:
        """Who holds the stack's lock and since when, where the state is in local files; else empty."""
        backend = os.environ.get("PULUMI_BACKEND_URL", "")
        if not backend.startswith("file://"):
            return ""
        state = Path(unquote(backend.removeprefix("file://").split("?")[0])).expanduser()
        for file in sorted((state / ".pulumi/locks/organization" / self.project / self.name).glob("*.json")):
            told = _object(_text(file)) or {}
            return "{username}@{hostname} (pid {pid}) since {timestamp}".format_map(defaultdict(str, told))
        return ""

    def run_loud(self, arguments: Sequence[str]) -> Ended:
        """A command with its output in the log while it runs, and without a limit: jobs may take long to drain.

        Raises KeyboardInterrupt once it has ended where this process is interrupted meanwhile.
        """
        return self._run(arguments, None, masker=self.masker)

    def change(self, command: str, *options: str) -> bool:
        """Whether `up` or `destroy`, of which nobody is asked, succeeded; where it failed, it is said why."""
        say(f"pulumi {command} of stack {self.name}")
        done = self.run_loud([command, "--yes", "--skip-preview", *PARALLEL, *options])
        if done.status:
            print(f"\n{command} of stack {self.name} failed:", file=sys.stderr)
            # What the engine said is in the log already.
            complain(replace(self.explain(done), output=""), self.masker)
        return done.status == 0

    def find(self) -> Failure | None:
        """Why the stack cannot be had; None where it can."""
        done = self._run(["stack", "--show-name"], SHORT_SECONDS)
        return None if done.status == 0 else self.explain(done)

    def create(self) -> Failure | None:
        """Have the stack in the backend. The reason where it cannot be had."""
        failure = self.find()
        if failure is None or failure.kind is not Kind.UNKNOWN_STACK:
            return failure
        chosen = ["--secrets-provider", self.secrets_provider] if self.secrets_provider else []
        done = self._run(["stack", "init", *chosen], SHORT_SECONDS)
        return None if done.status == 0 else self.explain(done)

    def toolchain(self, command: str) -> str | None:
        """What a command of the toolchain on this stack printed; None where it failed, and said why."""
        done = subprocess.run(
            [sys.executable, "-m", "toolchain", command, self.name],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0 and command == "kept":
            return done.stdout
        print(self.masker.log(done.stdout), end="", flush=True)
        return None if done.returncode else done.stdout

    def explain(self, done: Ended, errors: Sequence[str] = ()) -> Failure:
        """Why a command failed."""
        output = self.masker.log(f"{done.stderr}\n{done.stdout}")
        if done.status is None:
            return explain_timeout(f"pulumi on stack {self.name}", SHORT_SECONDS, output)
        return explain(output, stack=self.name, backend=self.backend, errors=errors)

    def _preview(self, command: Sequence[str]) -> Previewed:
        self.learn_secrets()
        with tempfile.TemporaryDirectory(prefix="dindrunner-") as directory:
            # Policies are told in events only; PULUMI_DEBUG_COMMANDS makes the flag known that says where they go.
            events = Path(directory) / "events.json"
            began = time.monotonic()

            def progress() -> None:
                count = sum("resourcePreEvent" in event for event in _events(events))
                say(f"... {time.monotonic() - began:.0f} s, {count} resources looked at")

            done = self._run([*command, "--json", "--event-log", str(events)], PREVIEW_SECONDS, progress)
            violations, mandatory = self._violations(events)
        digest = _object(done.stdout)
        plan = read_plan(digest, self.masker) if digest is not None else None
        if done.status == 0 and plan is not None:
            return Previewed(plan, None, violations, mandatory)
        if done.status is None:
            what = f"pulumi {' '.join(command)}"
            return Previewed(None, explain_timeout(what, PREVIEW_SECONDS, self.masker.log(done.stderr)))
        errors = plan.errors if plan else ()
        if mandatory and plan and not set(errors) - SAYS_NOTHING:
            # The preview itself is whole.
            return Previewed(plan, None, violations, mandatory)
        output = done if digest is None else Ended(done.status, "", done.stderr)
        failure = self.explain(output, errors)
        # What is protected and would go is in the plan; of another failed preview nobody knows what is missing.
        return Previewed(plan if failure.kind is Kind.PROTECTED else None, failure, violations, mandatory)

    def _violations(self, events: Path) -> tuple[tuple[str, ...], bool]:
        """The policies' violations, and whether one of them is mandatory."""
        found: dict[str, bool] = {}
        for event in _events(events):
            policy = event.get("policyEvent")
            if not policy or policy.get("enforcementLevel") in ("none", "disabled"):
                continue
            is_mandatory = policy.get("enforcementLevel") == "mandatory"
            text = " ".join(self.masker.text(policy.get("message") or "").split())
            level = "mandatory" if is_mandatory else "advisory"
            found[f"{policy.get('policyName')} ({level}): {text}"] = is_mandatory
        return tuple(sorted(found, key=lambda text: (not found[text], text))), any(found.values())

    def _secrets(self, config: Mapping[str, Any] | None) -> Iterator[str]:
        """What this process knows; config: as `pulumi config --show-secrets --json` prints it."""
        yield from secrets.from_environment(os.environ)
        for file in (self.settings_file, self.directory / "Pulumi.yaml"):
            given = _yaml(file).get("config")
            for key, value in given.items() if isinstance(given, Mapping) else ():
                plain = value["value"] if isinstance(value, Mapping) and "value" in value else value
                told = (config or {}).get(key if ":" in key else f"{self.project}:{key}") or {}
                name = key.rpartition(":")[2]
                yield from secrets.from_settings({name: plain}, {name: told.get("objectValue", told.get("value"))})

    @contextmanager
    def _as_new(self) -> Iterator[Stack]:
        """This stack, with nothing in it, in a directory and a state of its own."""
        with tempfile.TemporaryDirectory(prefix="dindrunner-") as name:
            directory, state = Path(name) / "program", Path(name) / "state"
            directory.mkdir()
            state.mkdir()
            for entry in self.directory.iterdir():
                if entry.name != ".git" and entry != self.settings_file:
                    (directory / entry.name).symlink_to(entry.resolve())
            environment = {"PULUMI_BACKEND_URL": state.as_uri()}
            # Made before its settings are there, so that neither a salt nor a key is written into them.
            made = Stack(self.name, directory, {"PULUMI_CONFIG_PASSPHRASE": "new", **environment})
            if made._run(["stack", "init"], SHORT_SECONDS).status == 0:
                shutil.copy(self.settings_file, directory)
            yield Stack(self.name, directory, environment)

    def _run(
        self,
        arguments: Sequence[str],
        limit: float | None,
        progress: Callable[[], None] | None = None,
        masker: Masker | None = None,
    ) -> Ended:
        """masker: where the output is said while the command runs, what hides its secrets."""
        command = ["pulumi", "--non-interactive", "--color=never", *arguments, "--stack", self.name]
        if shutil.which("pulumi") is None:
            return Ended(127, "", "error: pulumi is not on PATH: run: . .toolchain/env")
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A signal to the whole group would reach it twice, with ours, and the second makes it drop everything.
            start_new_session=True,
        )
        outputs: tuple[list[str], list[str]] = [], []
        readers = [
            threading.Thread(target=_read, args=(stream, lines, masker and masker.lines()), daemon=True)
            for stream, lines in zip((process.stdout, process.stderr), outputs, strict=True)
        ]
        for reader in readers:
            reader.start()
        try:
            status = _wait(process, limit, progress)
        except BaseException:
            _end(process, patiently=limit is None, has_heard=lambda: any(HEARD in line for line in chain(*outputs)))
            raise
        finally:
            for reader in readers:
                reader.join(KILL_SECONDS)
        return Ended(status, *("".join(lines) for lines in outputs))


def _read(stream: IO[str], lines: list[str], masked: Callable[[str], str] | None) -> None:
    """Read a stream to its end, so that the process never waits for that."""
    for line in stream:
        lines.append(line)
        if masked:
            say(masked(line.rstrip("\n")))


def _wait(process: subprocess.Popen[str], limit: float | None, progress: Callable[[], None] | None) -> int | None:
    """The exit status; None where the limit was reached, and the process was ended."""
    end = None if limit is None else time.monotonic() + limit
    while True:
        try:
            return process.wait(PROGRESS_SECONDS if end is None else min(PROGRESS_SECONDS, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            if end is not None and time.monotonic() >= end:
                _end(process)
                return None
            if progress:
                progress()


def _end(
    process: subprocess.Popen[str], *, patiently: bool = False, has_heard: Callable[[], bool] = lambda: False
) -> None:
    """Ask Pulumi to end, as Ctrl-C does: it begins nothing new, and gives back the stack's lock.

    patiently: for as long as that takes, unless this process is interrupted once more. has_heard: whether it was asked
    already; GitLab's runner tells every process of a container.
    """
    try:
        if patiently:
            say("interrupted: what Pulumi is doing is ended first; interrupt once more to drop it")
            end = time.monotonic() + HEARD_SECONDS
            while process.poll() is None and not has_heard() and time.monotonic() < end:
                time.sleep(0.05)
        if not has_heard():
            process.send_signal(signal.SIGINT)
        if patiently:
            process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_SECONDS)
    finally:
        process.kill()
        process.wait()


def _object(text: str) -> Mapping[str, Any] | None:
    """The JSON object that was printed; None where nothing got as far as to print one."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, Mapping) else None


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in _text(path).splitlines():
        if (event := _object(line)) is None:
            # The last line of an engine that was killed.
            return
        yield event


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(_text(path))
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def complain(failure: Failure, masker: Masker) -> None:
    """Say on stderr what failed, and what the engine said of it."""
    texts = [*failure.lines]
    if failure.output:
        texts += ["", "The engine said:", failure.output]
    print("\n".join(map(masker.log, texts)), file=sys.stderr, flush=True)
