"""What can be said of the manifests without a cluster: by Kubernetes' schemas, and our settings, commands, routes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from jsonschema import Draft202012Validator, ValidationError

import app.cli.deployment
import app.cli.worker
import app.supervisor
from app.figures_server import web_ports, worker_ports
from app.jobs.ray import OTHERS
from app.settings import load_settings
from app.web.main import health

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
WITH_RAY = ROOT / "deploy/kubernetes-ray"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Version 1.34, whose `preStop.sleep` is no longer an option; `make schemas` writes it.
SCHEMAS = json.loads(Path(__file__).with_name("kubernetes-1.34.json").read_text())
GIBIBYTE = 1 << 30
CUSTOM = {"kustomize.config.k8s.io/v1beta1", "ray.io/v1"}

Manifest = dict[str, Any]


def manifests(*names: str, folder: Path = FOLDER) -> list[Manifest]:
    paths = [folder / name for name in names] or sorted(folder.glob("*.yaml"))
    return [found for path in paths for found in yaml.safe_load_all(path.read_text())]


KUSTOMIZATION = manifests("kustomization.yaml")[0]
OURS = manifests(*KUSTOMIZATION["resources"])
WORKLOADS = {found["metadata"]["name"]: found for found in OURS if "template" in found.get("spec", {})}
SETTINGS = next(found["data"] for found in OURS if found["kind"] == "ConfigMap")
PODS = {name: workload["spec"]["template"]["spec"] for name, workload in WORKLOADS.items()}
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}


def environment_of(name: str) -> dict[str, str]:
    return SETTINGS | {entry["name"]: entry["value"] for entry in CONTAINERS[name].get("env", [])}


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda found: f"{found['kind']} {found.get('metadata', {}).get('name')}"
)
def test_every_manifest_is_one_by_the_schema_of_kubernetes_without_a_key_too_many(manifest: Manifest) -> None:
    if manifest["apiVersion"] not in CUSTOM:
        validate(manifest)


def validate(manifest: Manifest) -> None:
    group, _, version = manifest["apiVersion"].rpartition("/")
    name = "-".join(part for part in (manifest["kind"].lower(), group.partition(".")[0], version) if part)
    Draft202012Validator(SCHEMAS["kinds"][name] | {"$defs": SCHEMAS["$defs"]}).validate(manifest)


def test_a_misspelt_key_would_be_seen() -> None:
    misspelt = WORKLOADS["web"] | {"spec": WORKLOADS["web"]["spec"] | {"replica": 3}}
    with pytest.raises(ValidationError, match="replica"):
        validate(misspelt)


def test_one_command_applies_all() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert set(KUSTOMIZATION["resources"]) == files - {"kustomization.yaml"}
    assert sorted(WORKLOADS) == ["prepare", "trainer", "web", "worker"]


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_pods_get_settings_that_there_are_and_run_commands_that_there_are(name: str) -> None:
    load_settings(environment_of(name))
    ours = typer.main.get_command(app.cli.app).commands  # type: ignore[attr-defined]
    for program, command in commands_of(CONTAINERS[name]):
        assert program == "plumbline"
        assert command in ours
    assert CONTAINERS[name]["image"] in {image["name"] for image in KUSTOMIZATION["images"]}
    assert re.search(rf"^FROM \S+ AS {CONTAINERS[name]['image'].removeprefix('plumbline-')}$", DOCKERFILE, re.MULTILINE)


def commands_of(container: Manifest) -> Iterator[list[str]]:
    yield container["command"]
    for value in container.values():
        if isinstance(value, dict) and "exec" in value:
            yield value["exec"]["command"]


def test_probes_and_ports_are_those_of_the_site() -> None:
    web, settings = CONTAINERS["web"], load_settings(environment_of("web"))
    routes = {getattr(route, "path", None) for route in health.routes}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert web[probe]["httpGet"]["path"].partition("?")[0] in routes
        assert web[probe]["httpGet"]["port"] == "http"
    ports = {port["name"]: port["containerPort"] for port in web["ports"]}
    assert ports["http"] == settings.port
    assert ports["figures"] == web_ports(settings)[0]
    for name in ("worker", "trainer"):
        assert [port["containerPort"] for port in CONTAINERS[name]["ports"]] == list(worker_ports(settings))
    people = next(found for found in OURS if found["metadata"]["name"] == "people")
    assert people["spec"]["ingress"][0]["ports"][0]["port"] == settings.port


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_every_pod_is_confined_limited_and_has_what_it_mounts(name: str) -> None:
    pod, container = PODS[name], CONTAINERS[name]
    user = re.search(r"useradd --uid (\d+)", DOCKERFILE)
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == int(user[1])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {"/data", "/tmp"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"PLUMBLINE_HOME={container['volumeMounts'][0]['mountPath']}" in DOCKERFILE
    claims = {found["metadata"]["name"] for found in OURS if found["kind"] == "PersistentVolumeClaim"}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims
    maps = {found["metadata"]["name"] for found in OURS if found["kind"] == "ConfigMap"}
    assert container["envFrom"][0]["configMapRef"]["name"] in maps


def test_every_selector_finds_pods() -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"].items() for workload in WORKLOADS.values()]
    selectors = [
        found["spec"].get("selector", {}).get("matchLabels") or found["spec"].get("selector", {})
        for found in OURS
        if found["kind"] in {"Service", "PodDisruptionBudget", "Deployment", "StatefulSet"}
    ]
    selectors += [
        found["spec"]["podSelector"].get("matchLabels", {}) for found in OURS if found["kind"] == "NetworkPolicy"
    ]
    assert len(selectors) >= 10
    for selector in selectors:
        assert any(selector.items() <= of_pod for of_pod in labels), selector


def test_every_queue_is_served_and_no_budget_stands_in_the_way_of_a_drain() -> None:
    assert sorted(environment_of(name)["PLUMBLINE_QUEUES"] for name in ("worker", "trainer")) == ["steps", "training"]
    for budget in (found["spec"] for found in OURS if found["kind"] == "PodDisruptionBudget"):
        replicas = WORKLOADS[budget["selector"]["matchLabels"]["part"]]["spec"]["replicas"]
        assert budget["minAvailable"] < replicas


def test_pages_and_trainer_go_by_the_memory_that_the_trainer_has() -> None:
    limit = CONTAINERS["trainer"]["resources"]["limits"]["memory"]
    told = {name: load_settings(environment_of(name)).memory_bytes for name in WORKLOADS}
    assert len(set(told.values())) == 1
    assert 0.8 * GIBIBYTE < (told["web"] or 0) / int(limit.removesuffix("Gi")) < GIBIBYTE


def test_a_pod_is_taken_out_of_the_round_before_its_server_stops() -> None:
    web = PODS["web"]
    waits = web["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits + app.supervisor.WEB_STOP_SECONDS < web["terminationGracePeriodSeconds"]


def merged(under: Any, over: Any) -> Any:
    """As a strategic merge patch does with what is used here: lists of things with names by these, or their places."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under.get(key), value) for key, value in over.items()}
    if isinstance(under, list) and isinstance(over, list):
        by_name = {entry.get("mountPath", entry["name"]): entry for entry in under}
        new = {entry.get("mountPath", entry["name"]): entry for entry in over}
        return list(merged(by_name, new).values())
    return over


def test_with_a_cluster_of_ray_the_trainer_is_told_where_it_is_and_can_read_its_token() -> None:
    (overlay,) = manifests("kustomization.yaml", folder=WITH_RAY)
    assert overlay["resources"] == ["../kubernetes", "ray.yaml"]
    patches = manifests(*(patch["path"] for patch in overlay["patches"]), folder=WITH_RAY)
    patched = {}
    for patch in patches:
        (under,) = (
            found
            for found in OURS
            if (found["kind"], found["metadata"]["name"]) == (patch["kind"], patch["metadata"]["name"])
        )
        patched[patch["kind"]] = merged(under, patch)
        validate(patched[patch["kind"]])
    cluster, *policies = manifests("ray.yaml", folder=WITH_RAY)
    for policy in policies:
        validate(policy)
    pod = patched["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    own = {entry["name"]: entry["value"] for entry in container["env"]}
    told = load_settings(patched["ConfigMap"]["data"] | own)
    (port,) = {
        port["port"] for policy in policies for rule in policy["spec"]["egress"] for port in rule.get("ports", ())
    }
    assert told.ray_url == f"http://{cluster['metadata']['name']}-head-svc:{port}"
    (token,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)
    assert (token["secretName"], token["items"][0]["key"]) == (cluster["metadata"]["name"], "auth_token")
    assert not token["defaultMode"] & OTHERS
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "ray-token")
    assert str(told.ray_token_file) == f"{mount['mountPath']}/{token['items'][0]['path']}"
    (group,) = cluster["spec"]["workerGroupSpecs"]
    has = group["template"]["spec"]["containers"][0]["resources"]
    assert told.ray_cpus <= int(has["requests"]["cpu"])
    assert told.ray_gpus <= has["limits"]["nvidia.com/gpu"]
    assert 0.8 * GIBIBYTE < (told.memory_bytes or 0) / int(has["limits"]["memory"].removesuffix("Gi")) < GIBIBYTE
