"""The image and the composition: linted, and the image's own steps run as an engine would run what they make."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import context, exec_form, read
from processes import lasting_port
from programs import DEPLOY, ROOT, run

from app import __version__
from app.config.settings import Settings

FOLDER = DEPLOY / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
NEEDED = """\
The image could not be tried. Its steps run without a container engine, which needs root (or sudo without a password),
a mount namespace (`unshare --mount`) and overlayfs; in a container: --privileged, or --cap-add SYS_ADMIN without
AppArmor's and seccomp's profile. The other tests in this file need none of that."""
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_linters_accept_the_files() -> None:
    run("hadolint", FOLDER / "Dockerfile")
    for name in ("compose.yaml", "compose.postgres.yaml"):
        run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / name)


def test_servers_on_postgresql_have_what_they_need() -> None:
    laid_over: dict[str, Any] = yaml.safe_load((FOLDER / "compose.postgres.yaml").read_text())
    services, secrets = laid_over["services"], {**COMPOSE["secrets"], **laid_over["secrets"]}
    servers, database = services["rescind"], services["postgres"]
    nodes, each = servers["deploy"]["replicas"], Settings.model_fields["database_connections"].default
    options = dict(option.split("=") for option in database["command"] if "=" in option)
    assert int(options["max_connections"]) >= (nodes + 1) * each, "one more starts before the one that it replaces ends"
    assert nodes > 1
    assert servers["environment"]["RESCIND_MIGRATE"] == "1"
    assert {*servers["secrets"], *database["secrets"]} <= secrets.keys()
    assert servers["networks"].keys() & database["networks"].keys() == {"database"}
    assert laid_over["networks"]["database"] == {"internal": True}
    assert services["backup"] == {"profiles": ["sqlite"]}
    assert "ports" not in database
    hardened = {
        name: SERVICES["caddy"][name] for name in ("restart", "read_only", "cap_drop", "security_opt", "logging")
    }
    assert hardened.items() <= {name: database[name] for name in hardened}.items()


def test_the_build_sees_no_secret_and_nothing_that_is_not_needed(tmp_path: Path) -> None:
    repository, seen = tmp_path / "repository", tmp_path / "seen"
    folders = "app/x handlers rescind_client requirements deploy/docker/secrets deploy/kubernetes/example"
    for name in (*folders.split(), ".git", ".venv", "docs"):
        (repository / name).mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "app/x/y.py"):
        (repository / name).write_text("kept")
    unseen = ("rescind.db", "app/rescind.db.key", ".env", "deploy/docker/.env", "deploy/docker/secrets/key")
    for name in (*unseen, "deploy/kubernetes/example/secrets.env"):
        (repository / name).write_text("secret")
    (repository / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    seen.mkdir()
    context(repository, seen)
    kept = {str(path.relative_to(seen)) for path in seen.rglob("*") if path.is_file()}
    assert kept == {"pyproject.toml", "README.md", "app/x/y.py"}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("container")
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive", "--preserve-env"]
    script = Path(__file__).with_name("container_trial.py")
    port = lasting_port()
    command = [*sudo, "unshare", "--mount", sys.executable, script, ROOT, work, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    why = NEEDED if re.search(r"^(unshare|sudo): |'mount', ", done.stderr, re.MULTILINE) else "A step failed"
    assert done.returncode == 0, f"{why}\n{done.stdout}\n{done.stderr}"
    return {"port": port, **json.loads(done.stdout.splitlines()[-1])}


def test_the_image_runs_read_only_without_root_and_ends_in_order(trial: dict[str, Any]) -> None:
    steps = trial["steps"]
    assert steps["starting"][0] == 1
    assert "nothing listens there" in steps["starting"][2]
    assert steps["healthy"][:2] == [0, f"ok: http://127.0.0.1:{trial['port']}/healthz\n"]
    assert steps["ready"][0] == 0, steps["ready"]
    assert steps["backup"][0] == 0, steps["backup"]
    assert steps["who"][1] == "10001\n"
    assert steps["writes outside"][2].count("Read-only file system") + steps["writes outside"][2].count("denied") == 4
    assert steps["writes inside"] == [0, "", ""]
    assert steps["sorts"][1] == "{'/var/lib/rescind'}\n", steps["sorts"]
    assert trial["exit_code"] == 0, trial["log"]
    assert '"stopped"' in trial["log"]
    assert trial["files"]["rescind.db"] == 10001
    assert trial["not_compiled"] == [], "each start would compile these anew"


def test_nothing_of_the_image_needs_a_shell_or_pip(trial: dict[str, Any]) -> None:
    last = read(DOCKERFILE)[-1]
    for kind in ("ENTRYPOINT", "CMD", "VOLUME"):
        assert exec_form(last.said[kind])
    assert exec_form(last.said["HEALTHCHECK"].partition(" CMD ")[2]) == ["rescind", "healthcheck"]
    assert last.user == "0:0", "a step sets it"
    assert ("USER", "10001:10001") in last.steps
    assert "pip" not in trial["packages"]
    assert {"app", "handlers", "aiohttp"} <= {*trial["packages"]}
    assert 50 < trial["sizes"]["opt/rescind"] < 250, "docs/operations/docker.md says how large it is"


def test_every_service_is_confined() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name
        assert "privileged" not in service, name
        assert re.search(r":[v0-9$]", service["image"]), f"{name}: a version, not latest"
        assert "healthcheck" in service or name == "rescind", f"{name}; the image of Rescind has one"


def test_only_caddy_publishes_and_only_the_web_to_everyone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"caddy"}
    assert [port for port in published["caddy"] if not port.startswith("127.0.0.1:")] == [
        "80:80",
        "443:443",
        "443:443/udp",
    ]
    assert {name for name, service in SERVICES.items() if "outside" in service.get("networks", ())} == {
        "rescind",
        "caddy",
    }
    assert COMPOSE["networks"]["front"]["internal"] is True
    proxy = SERVICES["caddy"]["networks"]["front"]["ipv4_address"]
    assert f"{proxy}/32" in SERVICES["rescind"]["environment"]["RESCIND_TRUSTED_PROXIES"]
    alias = SERVICES["rescind"]["networks"]["front"]["aliases"][0]
    assert f"reverse_proxy {alias}:8700" in (FOLDER / "Caddyfile").read_text(), (
        "by that network: its address is trusted"
    )


def test_secrets_are_files_and_init_makes_each(tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    shutil.copytree(DEPLOY / "observability", tmp_path / "observability")
    ignored = shutil.ignore_patterns("secrets", ".env", "rescind.yaml")
    shutil.copytree(FOLDER, folder, ignore=ignored)
    (folder / "Caddyfile").chmod(0o600)
    made = run("sh", "-c", f"umask 077; sh {folder}/init rescind.acme.example")
    for service in SERVICES.values():
        for source in (mount.split(":")[0] for mount in service.get("volumes", ()) if mount.startswith(".")):
            files = [folder / source, *(folder / source).rglob("*")]
            assert all(file.stat().st_mode & 0o444 == 0o444 for file in files), source
    assert "docker compose up" in made
    files = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    assert {secret["file"].removeprefix("./secrets/") for secret in COMPOSE["secrets"].values()} == files.keys()
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    keys = [text for name, text in files.items() if name != "prometheus_key"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)
    assert len({*keys}) == 3
    assert "RESCIND_DOMAIN=rescind.acme.example\n" in (folder / ".env").read_text()
    assert f"RESCIND_VERSION={__version__}\n" in (folder / ".env").read_text()
    run("sh", folder / "init", "another.example")
    assert {path.name: path.read_text() for path in (folder / "secrets").iterdir()} == files, "it leaves what is there"
    used = set(re.findall(r"\$\{(\w+)", yaml.safe_dump(COMPOSE)))
    assert used == set(re.findall(r"^(?:# )?(\w+)=", (FOLDER / ".env.example").read_text(), re.MULTILINE))


def test_what_is_filled_in_is_in_no_distribution_and_not_tracked(tmp_path: Path) -> None:
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    run("sh", tmp_path / "deploy/docker/init", "rescind.acme.example")
    example = tmp_path / "deploy/kubernetes/example"
    shutil.copy2(example / "secrets.env.example", example / "secrets.env")
    made = {f"docker/{name}" for name in ("secrets/RESCIND_SECRET_KEY", "rescind.yaml", ".env")}
    made.add("kubernetes/example/secrets.env")
    run("git", "init", "--quiet", cwd=tmp_path)
    untracked = run("git", "ls-files", "--others", "--exclude-standard", "deploy", cwd=tmp_path).split()
    assert not {f"deploy/{name}" for name in made} & {*untracked}
    run("hatchling", "build", "--target", "sdist", "--directory", tmp_path / "dist", cwd=tmp_path)
    # As in the image's build, which does not see what git ignores.
    (tmp_path / ".gitignore").unlink()
    run("hatchling", "build", "--target", "wheel", "--directory", tmp_path / "dist", cwd=tmp_path)
    (wheel,), (sdist,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed, tarfile.open(sdist) as archive:
        names = [*packed.namelist(), *archive.getnames()]
    assert sum(name.endswith("/docker/compose.yaml") for name in names) == 2
    assert [name for name in names if name.endswith(tuple(f"/{file}" for file in made))] == []


def test_mounted_files_exist_and_their_programs_take_them(tmp_path: Path) -> None:
    made_by_init = {"./rescind.yaml"}
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in made_by_init or not source.startswith(".") or (FOLDER / source).exists(), source
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards.yaml").read_text())["providers"]
    (source,) = [mount for mount in SERVICES["grafana"]["volumes"] if f":{provider['options']['path']}:" in mount]
    assert [*(FOLDER / source.split(":")[0]).glob("*.json")]
    env = {**os.environ, "RESCIND_DOMAIN": "rescind.example.com", "RESCIND_INSIDE": "10.0.0.0/8 127.0.0.1/32"}
    run("caddy", "validate", "--adapter", "caddyfile", "--config", FOLDER / "Caddyfile", env=env)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    rules = tmp_path / "alerts.yaml"
    rules.write_bytes((DEPLOY / "observability/alerts.yaml").read_bytes())
    config["rule_files"] = [str(rules)]
    key = tmp_path / "key"
    key.write_text("x")
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(key)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    assert "SUCCESS" in run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_the_proxy_is_as_the_one_without_containers() -> None:
    """What it lets through, and the limits, are decided in one place: deploy/proxy."""
    kept = re.compile(
        r"^\s*(@public|@large|max_header_size|read_header|read_body|idle|keepalive|max_size|header_up|fields|request>|resp).*$",
        re.MULTILINE,
    )
    here = {line.strip() for line in (m[0] for m in kept.finditer((FOLDER / "Caddyfile").read_text()))}
    there = {line.strip() for line in (m[0] for m in kept.finditer((DEPLOY / "proxy/Caddyfile").read_text()))}
    assert here == there
