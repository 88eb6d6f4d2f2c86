"""KubeRay's RayCluster and RayJob, as far as infra/ uses them, as JSON schemas.

Written down from the field reference of KubeRay 1.7 (ray.io/v1), since its definitions are in no package index. Strict:
a field that is not here is an error, so that a misspelled one is. Pod templates are left to Kubernetes' own schema.
"""

from __future__ import annotations

from typing import Any

TEXT, FLAG, COUNT, MAP = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}, {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


AUTOSCALER = _object(
    [],
    resources=MAP,
    securityContext=MAP,
    env={"type": "array"},
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
)
HEAD = _object(
    ["template"],
    template=MAP,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP"]},  # NodePort and LoadBalancer are allowed by KubeRay, and not by us
    labels=TEXTS,
)
GROUP = _object(
    ["groupName", "template", "minReplicas", "maxReplicas"],
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    labels=TEXTS,
    template=MAP,
)
CLUSTER = _object(
    ["headGroupSpec"],
    rayVersion=TEXT,
    authOptions=_object([], mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": GROUP},
)
JOB = _object(
    [],
    entrypoint=TEXT,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=MAP,
    rayClusterSpec=CLUSTER,
)
SCHEMAS = {
    kind: _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=MAP,
        spec=spec,
    )
    for kind, spec in (("RayCluster", CLUSTER), ("RayJob", JOB))
}
