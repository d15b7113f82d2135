"""launch/kubernetes.yaml says what the server knows: its flags, its endpoints, and the time that it takes to stop."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from absl import flags
from served import app_of

import experiments.serve  # defines the flags
from fac_jax.serving.config import KEYS_VARIABLE, ServerConfig
from fac_jax.serving.run import GRACE_S

MANIFEST = Path(experiments.serve.__file__).parents[1] / "launch" / "kubernetes.yaml"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """The objects, by their kind; there is one deployment and one service."""
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["Deployment"]["spec"]["template"]["spec"]


def test_the_server_starts_with_its_flags(pod: dict[str, Any]) -> None:
    (server,) = pod["containers"]
    assert server["command"] == ["python", "-m", "experiments.serve"]
    given = dict(argument.removeprefix("--").split("=") for argument in server["args"])
    assert set(given) <= set(flags.FLAGS), set(given) - set(flags.FLAGS)
    assert given["host"] == "0.0.0.0" and KEYS_VARIABLE in {one["name"] for one in server["env"]}
    assert int(given["port"]) == server["ports"][0]["containerPort"]
    mounts = tuple(mount["mountPath"] for mount in server["volumeMounts"])
    assert given["shared_dir"].startswith(mounts) and given["checkpoint"].startswith(mounts)
    assert {mount["name"] for mount in server["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_probes_ask_what_is_there(pod: dict[str, Any]) -> None:
    paths = set(app_of().openapi()["paths"])
    (server,) = pod["containers"]
    probes = {name: server[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert set(probes.values()) <= paths
    assert probes["readinessProbe"] == "/ready" and probes["livenessProbe"] == "/health"


def test_a_pod_has_the_time_to_drain(pod: dict[str, Any]) -> None:
    (server,) = pod["containers"]
    _, seconds = server["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + ServerConfig().drain_s + GRACE_S


def test_what_belongs_together_finds_itself(manifest: dict[str, Any]) -> None:
    deployment, labels = (
        manifest["Deployment"]["spec"],
        manifest["Deployment"]["spec"]["template"]["metadata"]["labels"],
    )
    assert deployment["selector"]["matchLabels"] == labels == manifest["Service"]["spec"]["selector"]
    assert manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
