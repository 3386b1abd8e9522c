"""Scripts are checked by shellcheck."""

from __future__ import annotations

from programs import ROOT, run


def scripts() -> list[str]:
    """Files of the repository that a shell runs, by their first line."""
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [name for name in files if (ROOT / name).is_file() and _is_shell((ROOT / name).read_bytes()[:40])]


def _is_shell(head: bytes) -> bool:
    line = head.partition(b"\n")[0]
    return line.startswith(b"#!") and line.endswith((b"/sh", b" sh", b"bash"))


def test_shellcheck_accepts_every_script() -> None:
    names = scripts()
    assert {".ci/run", "deploy/checks/install-tools"} <= {*names}
    run("shellcheck", *names)
