"""`.toolchain/env`: what a shell needs so that plain `pulumi` commands work on every stack."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolchain.shared import ROOT, TOOLCHAIN_DIR, write_atomic

SANDBOX_PASSPHRASE = "sandbox"
"""Well known on purpose: it guards the sandbox's throw-away token only; the program refuses it for any other GitLab."""


def env_text(root: Path) -> str:
    """The text of the file for a checkout at `root`: for sh and bash, safe to source twice and from anywhere."""
    toolchain = root / ".toolchain"
    prefix = shlex.quote(f"{root / '.venv' / 'bin'}:{toolchain / 'bin'}")
    state = shlex.quote(f"file://{toolchain / 'state'}")
    return f"""\
# Source this file in sh or bash: `. .toolchain/env`. It is written by `python3 -m toolchain install`.
_dindrunner_path={prefix}
case "$PATH:" in
"$_dindrunner_path:"*) ;;
*) PATH="$_dindrunner_path:$PATH" ;;
esac
unset _dindrunner_path
export PATH
export PULUMI_HOME={shlex.quote(str(toolchain / "pulumi-home"))}
# Another backend is asked for by its own variable, so that one set for other projects is not used by mistake.
_dindrunner_state={state}
export PULUMI_BACKEND_URL="${{DINDRUNNER_BACKEND_URL:-$_dindrunner_state}}"
unset _dindrunner_state
export PULUMI_SKIP_UPDATE_CHECK=true
# The plugins are there: looking for those of every SDK would cost each run seconds.
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true
if [ -z "${{PULUMI_CONFIG_PASSPHRASE+set}}" ] && [ -z "${{PULUMI_CONFIG_PASSPHRASE_FILE:-}}" ]; then
    export PULUMI_CONFIG_PASSPHRASE={SANDBOX_PASSPHRASE}
fi
export DINDRUNNER_POLICY_PACK={shlex.quote(str(root / "policy"))}
export DINDRUNNER_SANDBOX={shlex.quote(str(toolchain / "sandbox.json"))}
"""


def ensure_env_file() -> None:
    """Writes `.toolchain/env` unless it says the right thing already, and makes the directory of the local state."""
    (TOOLCHAIN_DIR / "state").mkdir(parents=True, exist_ok=True)
    path = TOOLCHAIN_DIR / "env"
    text = env_text(ROOT)
    if not path.exists() or path.read_text() != text:
        write_atomic(path, text)
