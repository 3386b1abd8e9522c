"""`rescind new-handler`: what it lays out passes every check that a finished handler must pass, and works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import PATIENCE_S, RESCIND, Machine, fetch, machine, until

from app.cli.handlers import NAME_CHARS_MAX, SKELETON

ROOT = Path(__file__).resolve().parents[2]
NAME = "acme_shop"
LONG_NAME = "z" * (NAME_CHARS_MAX - 9) + "_24_acmes"
ODD_TITLE = "Skeleton Joe's & {Sons}"
LINES_MAX = 85


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose `handlers` are in a project of their own, with two new ones; the rest is the project at hand."""
    with machine(tmp_path_factory.mktemp("project")) as made:
        # Of the other handlers only what the tests' own set-up uses: others must not make this test fail.
        shutil.copytree(ROOT / "handlers/planomatic", made.folder / "handlers/planomatic")
        shutil.copy(ROOT / "handlers/__init__.py", made.folder / "handlers")
        shutil.copy(ROOT / "pyproject.toml", made.folder)
        for name in ("app", "tests"):
            (made.folder / name).symlink_to(ROOT / name)
        made.env["PYTHONPATH"] = str(made.folder)
        made.installed = True
        made.run("new-handler", NAME)
        made.run("new-handler", LONG_NAME, "--title", ODD_TITLE)
        yield made


def check(project: Machine, tool: str, *args: str) -> str:
    """Run one of the tools of this Python's environment in the project's folder; what it prints."""
    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *args],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- What is laid out ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, LONG_NAME])
def test_it_passes_the_suite_over_all_handlers(project: Machine, name: str):
    ran = check(project, "python", "-m", "pytest", "tests/contract", "-k", name)
    found = re.search(r"(\d+) passed", ran)
    assert found is not None
    assert int(found[1]) > 90
    assert "skipped" not in ran


def test_it_is_in_good_style(project: Machine):
    check(project, "ruff", "format", "--check", "handlers")
    check(project, "ruff", "check", "handlers")


def test_its_types_are_right(project: Machine):
    check(project, "mypy", "-p", f"handlers.{NAME}", "-p", f"handlers.{LONG_NAME}")


def test_it_imports_only_what_a_handler_may(project: Machine):
    assert "Handlers see the contract and the kit" in check(project, "lint-imports", "--no-cache")


@pytest.mark.parametrize(("name", "title"), [(NAME, "Acme shop"), (LONG_NAME, ODD_TITLE)])
def test_it_bears_its_own_name(project: Machine, name: str, title: str):
    folder = project.folder / "handlers" / name
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {title}\n")
    assert f'TITLE = "{title}"\n' in (folder / "words.py").read_text(encoding="utf-8")
    for path in folder.rglob("*"):
        if path.suffix in {".py", ".md", ".json"}:
            text = path.read_text(encoding="utf-8").replace(title, "")
            assert "skeleton" not in text.lower(), path


def test_it_is_short_and_says_what_to_replace():
    for path in [*SKELETON.glob("*.py"), SKELETON / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LINES_MAX, path
        assert "Replace:" in text, path


def test_it_works_as_its_readme_says(project: Machine):
    account, endpoint = f"{NAME}-test", f"{NAME}-test-in"
    project.serve()
    target = f"{NAME}={project.env['RESCIND_URL']}/webhooks/{endpoint}"
    process = project.start("sandbox", "--port", "0", "--webhooks-to", target, log="sandbox.log")
    log = project.folder / "sandbox.log"
    until(lambda: f"{NAME}: webhooks go to" in log.read_text(encoding="utf-8"), "the sandbox is ready", process)
    found = re.search(rf"{NAME}: base_url (\S+)/{NAME},", log.read_text(encoding="utf-8"))
    assert found is not None
    readme = (project.folder / "handlers" / NAME / "README.md").read_text(encoding="utf-8")
    resources = readme.partition("```yaml\n")[2].partition("```")[0]
    assert "http://127.0.0.1:8701" in resources
    project.write("rescind.yaml", resources.replace("http://127.0.0.1:8701", found[1]))
    project.run("apply", "-f", "rescind.yaml")

    def act(do: str, type: str, order: str, **params: str) -> None:
        assert fetch(f"{found[1]}/_sandbox/{NAME}/act", {"do": do, **params}) is not None
        events = f"/v1/events?account={account}&order={order}&type={type}"
        until(lambda: project.api(events)["data"], f"{type} of order {order}")

    act("create_order", "order.created", "1001")
    project.run("cancel", account, "1001", "--reason", "customer_request", "--wait")
    act("create_order", "order.created", "1002")
    act("start_work", "order.updated", "1002", order_id="1002")
    rejected = project.run("cancel", account, "1002", "--reason", "customer_request", code=1)
    assert "status_not_cancelable" in rejected.out + rejected.err
    listed = fetch(f"{found[1]}/_sandbox/{NAME}/act", {"do": "list"})["orders"]
    assert [(each["status"], each["cancel_calls"], each["cancel_effects"]) for each in listed] == [
        ("canceled", 1, 1),
        ("working", 0, 0),
    ]


# -- The command -----------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_it_says_what_it_made_and_what_to_do_next(here: Machine):
    ran = here.run("new-handler", NAME, "--into", ".")
    made = sorted(str(path.relative_to(here.folder)) for path in (here.folder / NAME).rglob("*") if path.is_file())
    assert sorted(ran.out.splitlines()) == made
    assert {f"{NAME}/__init__.py", f"{NAME}/README.md", f"{NAME}/fixtures/_scenario.json"} <= set(made)
    elsewhere, first, second, third = ran.err.splitlines()
    assert elsewhere == f"To load it, set RESCIND_HANDLERS_PATH={here.folder.resolve()}, for example in .env."
    assert "words.py" in first
    assert "fixtures/" in first
    assert second.endswith(f"rescind handlers test {NAME}")
    assert "`rescind sandbox`" in third
    assert f"{NAME}/README.md" in third


def test_it_says_so_in_json(here: Machine):
    made = here.json("new-handler", NAME, "--into", str(here.folder), "--title", "Acme & Co")
    assert (made["name"], made["title"], made["folder"]) == (NAME, "Acme & Co", str(here.folder / NAME))
    assert all((here.folder / NAME / file).is_file() for file in made["files"])
    assert sorted(each.name for each in SKELETON.glob("*.py")) == sorted(
        file for file in made["files"] if file.endswith(".py")
    )


@pytest.mark.parametrize("name", ["Acme", "acme-shop", "acme__shop", "24_acme", "class", "../acme", "z" * 41])
def test_a_name_that_is_none(here: Machine, name: str):
    said = here.run("new-handler", name, "--into", ".", code=2).err
    assert "lower_snake_case" in said
    assert list(here.folder.iterdir()) == []


@pytest.mark.parametrize("title", ["", "  ", 'Acme "Shop"', "Acme\\", "Acme\nShop", "z" * 61])
def test_a_title_that_is_none(here: Machine, title: str):
    said = here.run("new-handler", NAME, "--into", ".", "--title", title, code=2).err
    assert said.startswith("error: --title ")
    assert list(here.folder.iterdir()) == []


def test_a_handler_that_is_there_already(here: Machine):
    said = here.run("new-handler", "planomatic", "--into", ".", code=1).err
    assert said.startswith("error: A handler planomatic exists already; there are: ")
    assert list(here.folder.iterdir()) == []


def test_a_folder_that_is_there_already(here: Machine):
    (here.folder / NAME).mkdir()
    said = here.run("new-handler", NAME, "--into", ".", code=1).err
    assert said.startswith(f"error: {NAME} exists already and was not changed")
    assert list((here.folder / NAME).iterdir()) == []


def test_a_place_that_is_none(here: Machine):
    said = here.run("new-handler", NAME, "--into", "nowhere", code=2).err
    assert said == "error: There is no folder nowhere: create it, or give another --into.\n"


def test_a_full_disk_leaves_nothing_behind(here: Machine):
    limited = ["sh", "-c", 'ulimit -f 2 && exec "$0" "$@"', RESCIND, "new-handler", NAME, "--into", "."]
    done = subprocess.run(
        limited, env=here.env, cwd=here.folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {NAME} cannot be written (")
    assert list(here.folder.iterdir()) == []
