"""compose.yaml and the Kubernetes manifests, held to the schemas of what reads them, and to each other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.mqtt.fleet.services import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
RESOURCES = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]


def documents() -> Iterator[dict[str, Any]]:
    for name in RESOURCES:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text())


def sets() -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] == "StatefulSet"]


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def test_compose_is_what_its_schema_says() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**COMPOSE, "servces": {}}, schema)


def test_compose_mounts_only_files_that_are_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source


def test_compose_opens_nothing_but_the_brokers_tls_port_to_the_network() -> None:
    opened = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert [port for port in opened if not port.startswith("127.0.0.1:")] == ["8883:8883"]


@pytest.mark.parametrize("document", list(documents()), ids=named)
def test_each_manifest_is_what_kubernetes_says(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_a_misspelt_field_would_be_seen() -> None:
    (first, *_) = sets()
    first["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(first, "1.33", strict=True)


@pytest.mark.parametrize("workload", sets(), ids=named)
def test_each_workload_is_probed_confined_and_reached_by_a_policy(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert {"readinessProbe", "livenessProbe", "resources"} <= set(container)
        assert container["securityContext"]["readOnlyRootFilesystem"]
    policies = [document for document in documents() if document["kind"] == "NetworkPolicy"]
    chosen = [policy["spec"]["podSelector"].get("matchLabels", {}) for policy in policies]
    assert {"app": workload["metadata"]["name"]} in chosen
    assert {} in chosen  # and nothing else is let through


def test_there_is_one_collector_where_each_would_have_a_file_of_its_own() -> None:
    (collector,) = (workload for workload in sets() if workload["metadata"]["name"] == "collector")
    assert collector["spec"]["volumeClaimTemplates"]
    assert collector["spec"]["replicas"] == 1
    assert not [one for one in documents() if one["kind"] == "PodDisruptionBudget"]  # it would hold every node fast


def test_an_alert_can_leave_both_deployments() -> None:
    networks = COMPOSE["services"]["alertmanager"]["networks"]
    assert [name for name in networks if not COMPOSE["networks"][name].get("internal")]
    policies = {one["metadata"]["name"]: one["spec"] for one in documents() if one["kind"] == "NetworkPolicy"}
    assert {"port": 443} in [port for way in policies["alertmanager"]["egress"] for port in way["ports"]]


def test_our_own_image_is_named_where_its_owner_says_from_where_it_comes() -> None:
    (ours,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    images = {one["image"] for workload in sets() for one in workload["spec"]["template"]["spec"]["containers"]}
    assert f"{ours['name']}:latest" in images


def test_kustomize_names_files_that_are_there_and_every_dashboard() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    named = [KUBERNETES / file for one in kustomization["configMapGenerator"] for file in one["files"]]
    assert all(file.exists() for file in named)
    assert {file.name for file in named} >= {file.name for file in (DEPLOY / "grafana" / "dashboards").iterdir()}


def test_both_deployments_run_the_same_images() -> None:
    ours = {one["image"] for workload in sets() for one in workload["spec"]["template"]["spec"]["containers"]}
    assert ours == {service["image"] for service in COMPOSE["services"].values()}


def test_both_prometheuses_are_configured_alike_but_for_the_collectors_name() -> None:
    one, other = ((DEPLOY / folder / "prometheus.yml").read_text() for folder in ("prometheus", "kubernetes"))
    assert one.replace("[collector]", "[collector-each]") == other


def test_the_collectors_image_holds_every_module_that_the_fleet_imports() -> None:
    text = (DEPLOY / "Dockerfile.fleet").read_text()
    assert {"appliance/*.py", "mqtt/*.py", "mqtt/fleet"} <= set(text.split())
    unwanted = [
        package.name for package in (DEPLOY.parent / "appliance").iterdir() if (package / "__init__.py").exists()
    ]
    code = "import sys, mqtt.fleet.process, mqtt.fleet.__main__, mqtt.fleet.simulate; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=DEPLOY.parent, check=True)
    assert not {f"appliance.{name}" for name in unwanted} & set(loaded.stdout.split())
