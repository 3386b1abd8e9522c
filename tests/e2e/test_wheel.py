"""From an installed wheel: handlers of one's own are laid out, found and tested; a broken one takes no other down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "acme_shop"
MAIN = "from app.cli.main import main; main()"
SOUND = """\
from dataclasses import replace
from handlers.planomatic import HANDLER as theirs
HANDLER = replace(theirs, name="acme_photos")
"""


@dataclass
class Installed:
    """A Rescind that was installed from its wheel, in front of the one that is checked out."""

    site: Path
    folder: Path

    def run(self, *args: str, code: int = 0, **env: str) -> tuple[str, str]:
        # What runs there is measured by nobody: coverage is of this tree.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESCIND_", "SLIPCOVER_"))}
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *args],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": f"{self.site}{os.pathsep}{self.folder}", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", str(ROOT), *options], check=True)
    (wheel,) = folder.glob("rescind-*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    work = folder / "work"
    work.mkdir()
    return Installed(site, work)


def test_a_handler_of_ones_own_is_laid_out_found_and_tested(installed: Installed):
    said = installed.run("new-handler", NAME, code=2)[1]
    assert "give --into DIR" in said
    installed.run("new-handler", NAME, "--into", ".")
    assert NAME not in installed.run("handlers", "list")[0]
    path = {"RESCIND_HANDLERS_PATH": str(installed.folder)}
    listed = installed.run("handlers", "list", "--json", **path)[0]
    assert {each["name"]: each["source"] for each in json.loads(listed)["data"]}[NAME] == str(installed.folder)
    passed = installed.run("handlers", "test", NAME, **path)[0]
    assert " passed" in passed
    assert "skipped" not in passed
    assert "planomatic" not in passed
    words = installed.folder / NAME / "README.md"
    words.write_text("no heading\n", encoding="utf-8")
    out, said = installed.run("handlers", "test", NAME, code=1, **path)
    assert "test_every_handler_is_described" in out
    assert f"The handler {NAME} fails its contract tests" in said
    assert "there is no provider 'nobody'" in installed.run("handlers", "test", "nobody", code=1)[1]


def test_packages_bring_handlers_and_a_broken_one_is_named(installed: Installed):
    (installed.folder / "acme_photos.py").write_text(SOUND, encoding="utf-8")
    (installed.folder / "acme_broken.py").write_text("import no_such_module\n", encoding="utf-8")
    about = installed.folder / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    points = "[rescind.handlers]\nacme_photos = acme_photos:HANDLER\nacme_broken = acme_broken\n"
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    rows = {each["name"]: each for each in json.loads(installed.run("handlers", "list", "--json", code=1)[0])["data"]}
    assert (rows["acme_photos"]["source"], rows["acme_photos"]["error"]) == ("package acme", None)
    assert rows["planomatic"]["source"] == "built in"
    assert "No module named 'no_such_module'" in rows["acme_broken"]["error"]
    said = installed.run("handlers", "test", "acme_broken", code=1)[1]
    assert "the handler 'acme_broken' (package acme) is broken: ModuleNotFoundError" in said
    found = json.loads(installed.run("doctor", "--json", code=1)[0])["data"]
    assert [each["state"] for each in found if each["what"] == "handler acme_broken"] == ["fault"]
    assert "acme_photos, generic" in next(each["detail"] for each in found if each["what"] == "handlers")


def test_a_handler_whose_name_is_taken_is_named(installed: Installed):
    own = installed.folder / "own"
    own.mkdir()
    (own / "planomatic.py").write_text("from handlers.kibo import HANDLER\n", encoding="utf-8")
    listed = installed.run("handlers", "list", "--json", code=1, RESCIND_HANDLERS_PATH=str(own))[0]
    sources = {(each["name"], each["source"]): each["error"] for each in json.loads(listed)["data"]}
    assert sources["planomatic", "built in"] is None
    assert "there is a handler of that name already (built in)" in sources["planomatic", str(own)]


def test_the_client_and_the_page_of_the_api_are_in_it(installed: Installed):
    assert (installed.site / "app/web/static/docs.html").is_file()
    assert (installed.site / "app/web/static/docs.js").is_file()
    assert (installed.site / "rescind_client/py.typed").is_file()
    # The client needs nothing of the server.
    program = (
        "import rescind_client, sys; print(rescind_client.__file__, sorted({'app', 'handlers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=installed.folder,
        env={**os.environ, "PYTHONPATH": str(installed.site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{installed.site / 'rescind_client/__init__.py'} []\n"
