"""The manifests build, fit the schemas of several releases of Kubernetes, and agree with the program they start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import (
    KUBERNETES,
    OVERLAYS,
    WORKLOADS,
    Resource,
    containers,
    data,
    of_kind,
    pod,
    rendered,
    resources,
    server,
)
from programs import DEPLOY, ROOT, run
from test_code_blocks import parsed

from app import __version__
from app.config.settings import Settings
from app.serve import STOP_S

RELEASES = ("1.30", "1.34", "1.37")
"""The oldest that has all of it (the sleep of preStop), one between, and the newest that there are schemas of."""
CUSTOM = {
    "PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
    "ServiceMonitor": "monitoring.coreos.com_servicemonitors.yaml",
    "HTTPRoute": "gateway.networking.k8s.io_httproutes.yaml",
}
"""Kind → the file in .tools/crds with its definition."""
OUTSIDE = {"rescind-secrets", "rescind-metrics"}
"""Secrets that are in no overlay: whoever installs makes them."""

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@each_overlay
def test_the_schemas_of_kubernetes_accept_it(overlay: str) -> None:
    native = [resource for resource in resources(overlay) if resource["kind"] not in CUSTOM]
    assert {resource["kind"] for resource in native} > {
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    for release, resource in product(RELEASES, native):
        kubernetes_validate.validate(resource, release, strict=True)


def test_the_definitions_of_custom_resources_accept_it() -> None:
    custom = [resource for resource in resources("example") if resource["kind"] in CUSTOM]
    assert {resource["kind"] for resource in custom} == CUSTOM.keys()
    for resource in custom:
        definition = ROOT / ".tools" / "crds" / CUSTOM[resource["kind"]]
        assert definition.exists(), f"{definition.name} is not there: deploy/checks/install-tools gets it"
        versions = yaml.load(definition.read_text(), yaml.CSafeLoader)["spec"]["versions"]
        group, _, version = resource["apiVersion"].partition("/")
        assert definition.name.startswith(group)
        schema = next(each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == version)
        # Of metadata the definition knows nothing: they are the same for all kinds.
        jsonschema.validate({**resource, "metadata": {}}, strict(schema), jsonschema.Draft202012Validator)


def strict(schema: Any) -> Any:
    """A schema that refuses fields it does not name, as the server does with `fieldValidation=Strict`."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # Patterns are those of Go, of which Python does not know `(?i)` after the beginning.
    closed = {name: strict(part) for name, part in schema.items() if name != "pattern" or "(?i)" not in part}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


@each_overlay
def test_pods_satisfy_the_restricted_standard(overlay: str) -> None:
    """Every control of https://kubernetes.io/docs/concepts/security/pod-security-standards/ that has a field."""
    spec = pod(overlay)["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        assert field not in spec
    context = spec["securityContext"]
    assert not {"sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile", "supplementalGroups"} & context.keys()
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert min(context["runAsUser"], context["runAsGroup"], context["fsGroup"]) > 0
    for volume in spec["volumes"]:
        allowed = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
        assert {*volume} - {"name"} <= allowed, volume
    for container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,  # beyond the standard
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPort" not in port for port in container.get("ports", ()))
        for action in (*container.get("lifecycle", {}).values(), *probes(container).values()):
            assert "host" not in action.get("httpGet", {})
    assert of_kind(overlay, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@each_overlay
def test_no_pod_gets_a_token_or_variables_of_services(overlay: str) -> None:
    spec, account = pod(overlay)["spec"], of_kind(overlay, "ServiceAccount")
    assert (spec["automountServiceAccountToken"], account["automountServiceAccountToken"]) == (False, False)
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    # For a Service named rescind they would set RESCIND_PORT to a URL.
    assert spec["enableServiceLinks"] is False


@each_overlay
def test_settings_exist_and_are_valid(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"RESCIND_{name.upper()}" for name in Settings.model_fields}
    given = data(overlay, "ConfigMap", "rescind-settings")
    assert given
    assert given.keys() <= names
    for container in containers(overlay):
        assert {variable["name"] for variable in container.get("env", ())} <= names
    secret = data(overlay, "Secret", "rescind-secrets")
    assert {name for name in secret if name.startswith("RESCIND_")} <= names
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"  # noqa: S104 - a pod's own address is not known before
    if of_kind(overlay, *WORKLOADS)["kind"] == "StatefulSet":
        mounts = {mount["name"]: mount["mountPath"] for mount in server(overlay)["volumeMounts"]}
        assert str(settings.database_path.parent) == mounts["data"]
    else:
        assert "RESCIND_DATABASE_URL" not in given, "it has a password"


@each_overlay
def test_the_pod_has_time_to_end(overlay: str) -> None:
    drain_s = float(data(overlay, "ConfigMap", "rescind-settings")["RESCIND_DRAIN_S"])
    sleep_s = server(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert drain_s > 0
    assert sleep_s + drain_s + STOP_S < pod(overlay)["spec"]["terminationGracePeriodSeconds"]


def probes(container: Resource) -> dict[str, Resource]:
    names = ("startupProbe", "livenessProbe", "readinessProbe")
    return {name: container[name] for name in names if name in container}


@each_overlay
def test_ports_are_the_same_everywhere(overlay: str) -> None:
    (port,) = server(overlay)["ports"]
    assert str(port["containerPort"]) == data(overlay, "ConfigMap", "rescind-settings")["RESCIND_PORT"]
    (shown,) = of_kind(overlay, "Service")["spec"]["ports"]
    assert (shown["port"], shown["targetPort"], shown["name"]) == (port["containerPort"], port["name"], port["name"])
    policy = of_kind(overlay, "NetworkPolicy")["spec"]
    used = {each["port"] for rule in policy["ingress"] for each in rule["ports"]}
    used |= {probe["httpGet"]["port"] for probe in probes(server(overlay)).values()}
    for resource in resources(overlay):
        if resource["kind"] == "ServiceMonitor":
            used |= {endpoint["port"] for endpoint in resource["spec"]["endpoints"]}
        if resource["kind"] == "HTTPRoute":
            backends = chain.from_iterable(rule["backendRefs"] for rule in resource["spec"]["rules"])
            assert {(each["name"], each["port"]) for each in backends} == {("rescind", shown["port"])}
    assert used == {port["name"]}


def test_probes_and_scrapes_ask_for_what_there_is() -> None:
    from app.web import server as web  # noqa: PLC0415 - it imports all of the application

    source = Path(web.__file__).read_text()
    for overlay in OVERLAYS:
        paths = {name: probe["httpGet"]["path"] for name, probe in probes(server(overlay)).items()}
        assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    monitored = of_kind("example", "ServiceMonitor")["spec"]["endpoints"]
    for path in {*paths.values(), *(endpoint["path"] for endpoint in monitored)}:
        assert f'add_get("{path}"' in source


@each_overlay
def test_commands_exist_and_images_are_one(overlay: str) -> None:
    for container in containers(overlay):
        program, *words = container["command"]
        assert program == "/opt/rescind/bin/rescind"
        parsed(words)
    (image,) = {container["image"] for container in containers(overlay)}
    assert image.rpartition(":")[2] == __version__


@each_overlay
def test_selectors_select_the_pods(overlay: str) -> None:
    labels = pod(overlay)["metadata"]["labels"].items()
    service = of_kind(overlay, "Service")
    selectors = [
        of_kind(overlay, *WORKLOADS)["spec"]["selector"]["matchLabels"],
        of_kind(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
        *(each["labelSelector"]["matchLabels"] for each in pod(overlay)["spec"].get("topologySpreadConstraints", ())),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    for monitor in (resource for resource in resources(overlay) if resource["kind"] == "ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "rescind", "the alert rules' job"


@each_overlay
def test_what_is_referred_to_is_there(overlay: str) -> None:
    there = {resource["metadata"]["name"] for resource in resources(overlay)} | OUTSIDE
    assert {*references(pod(overlay)["spec"])} <= there
    volumes = {volume["name"] for volume in pod(overlay)["spec"]["volumes"]}
    claims = of_kind(overlay, *WORKLOADS)["spec"].get("volumeClaimTemplates", ())
    volumes |= {claim["metadata"]["name"] for claim in claims}
    mounted = {mount["name"] for container in containers(overlay) for mount in container["volumeMounts"]}
    assert mounted == volumes
    if overlay == "example":
        assert not {*references(pod(overlay)["spec"])} & OUTSIDE, "its secret has a hash: a change replaces the pods"


def references(part: Any) -> Iterator[str]:
    """Names of ConfigMaps and Secrets that a pod takes something from."""
    if isinstance(part, list):
        for item in part:
            yield from references(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("configMap", "configMapRef", "configMapKeyRef", "secretRef", "secretKeyRef"):
                yield value["name"]
            yield from references(value)


def test_one_process_has_the_volume() -> None:
    for overlay in ("overlays/sqlite", "example"):
        spec = of_kind(overlay, "StatefulSet")["spec"]
        assert spec["replicas"] == 1
        for claim in spec["volumeClaimTemplates"]:
            assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        budget = of_kind(overlay, "PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1, "none would block every drain of a node"


def test_replicas_on_postgresql_are_replaced_one_by_one() -> None:
    spec = of_kind("overlays/postgres", "Deployment")["spec"]
    assert spec["replicas"] > 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "RESCIND_MIGRATE=1" in (KUBERNETES / "overlays/postgres/kustomization.yaml").read_text()


@each_overlay
def test_nothing_private_is_reached(overlay: str) -> None:
    policy = of_kind(overlay, "NetworkPolicy")["spec"]
    assert {*policy["policyTypes"]} == {"Ingress", "Egress"}
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    everywhere = {block["cidr"]: {*block["except"]} for block in blocks if block["cidr"].endswith("/0")}
    assert everywhere["0.0.0.0/0"] >= {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
    assert everywhere["::/0"] >= {"fc00::/7", "fe80::/10"}
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])


def test_the_alert_rules_are_those_of_the_file(tmp_path: Path) -> None:
    rule = of_kind("example", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "observability" / "alerts.yaml").read_text()), "run `make docs`"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    run("promtool", "check", "rules", tmp_path / "rules.yaml")


def test_webhooks_are_apart() -> None:
    routes = [resource for resource in resources("example") if resource["kind"] == "HTTPRoute"]
    public, internal = sorted(routes, key=lambda route: route["metadata"]["name"] != "rescind-public")
    paths = {match["path"]["value"] for rule in public["spec"]["rules"] for match in rule["matches"]}
    assert paths == {"/webhooks", "/approvals"}
    assert (
        f"https://{public['spec']['hostnames'][0]}"
        == data("example", "ConfigMap", "rescind-settings")["RESCIND_PUBLIC_URL"]
    )
    assert public["spec"]["parentRefs"] != internal["spec"]["parentRefs"]


def test_no_secret_is_in_the_repository() -> None:
    assert run("git", "check-ignore", KUBERNETES / "example" / "secrets.env")
    assert "kind: Secret" not in rendered("overlays/sqlite") + rendered("overlays/postgres")
    needed = re.findall(r"\$\{(\w+)\}", (KUBERNETES / "example/rescind.yaml").read_text())
    assert needed
    assert {*needed} <= data("example", "Secret", "rescind-secrets").keys()
