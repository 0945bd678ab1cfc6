"""What takes hours or another program: measured by hand, with the figures in a file (`--timings`), or not run."""

from __future__ import annotations

from bench.measure import Row

UP = "time `make up` on a new machine with an empty cache, then after `make down clean` again"
CI = "it takes more than an hour: take what `.ci/run` says of its phases, and pytest of the tests"
TERRAFORM = (
    "needs OpenTofu and the upstream Docker provider, which nothing here builds yet, and a configuration of the same "
    "graph: time both on a stack whose runner brings a token, which is Docker's resources alone"
)


def _row(id: str, what: str, a: str, b: str, limit: float, why: str) -> Row:
    return Row(id, what, a, b, limit, by_hand=why, figure="ratio" if b else "a")


ROWS = (
    _row("P3 up", "`up` that changes nothing ÷ `terraform apply`", "up", "terraform", 0.8, TERRAFORM),
    _row("P3 first", "first `up` ÷ first `terraform apply`", "up", "terraform", 1.0, TERRAFORM),
    _row("P3 destroy", "`destroy` ÷ `terraform destroy`", "destroy", "terraform", 0.7, TERRAFORM),
    _row("P12 cold", "bare machine → running runner, from registries alone", "make up", "", 600, UP),
    _row("P12 warm", "the same with caches", "make up", "", 20, UP),
    _row("P13 cold", "`.ci/run` with empty caches", ".ci/run", "", 75 * 60, CI),
    _row("P13 warm", "`.ci/run` with warm caches", ".ci/run", "", 40 * 60, CI),
)
