"""The fields whose change needs a new object, as the official plugin has them (provider/pkg/provider/diff.go)."""

from __future__ import annotations

from tests.plugins.base import Values

ALWAYS = ("metadata.name", "metadata.namespace")

_SELECTOR = ("spec.selector",)
_JOB = ("spec.completions", "spec.parallelism", "spec.selector", "spec.template")
_POD = tuple(
    f"spec.{name}"
    for name in (
        *("affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks", "hostAliases"),
        *("hostIPC", "hostNetwork", "hostPID", "hostname", "imagePullSecrets", "nodeName", "nodeSelector", "overhead"),
        *("preemptionPolicy", "priority", "priorityClassName", "readinessGates", "restartPolicy", "runtimeClassName"),
        *("schedulerName", "securityContext", "serviceAccount", "serviceAccountName", "shareProcessNamespace"),
        *("subdomain", "terminationGracePeriodSeconds", "volumes"),
    )
)
_CONTAINER = tuple(
    f"spec.{kind}.*.{name}"
    for kind in ("containers", "initContainers")
    for name in (
        *(
            "args",
            "command",
            "env",
            "image",
            "imagePullPolicy",
            "lifecycle",
            "livenessProbe",
            "ports",
            "readinessProbe",
        ),
        *("resources", "securityContext", "stdin", "stdinOnce", "terminationMessagePath", "terminationMessagePolicy"),
        *("tty", "volumeDevices", "volumeMounts", "workingDir"),
    )
)
_VOLUME = tuple(
    f"spec.{name}"
    for name in (
        *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker"),
        *("gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk"),
        *("portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
    )
)

_BY_KIND: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps/v1", "DaemonSet"): _SELECTOR,
    ("apps/v1", "Deployment"): _SELECTOR,
    ("apps/v1", "StatefulSet"): (
        *("spec.podManagementPolicy", "spec.revisionHistoryLimit", "spec.selector", "spec.serviceName"),
        "spec.volumeClaimTemplates",
    ),
    ("batch/v1", "Job"): _JOB,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("roleRef",),
    ("storage.k8s.io/v1", "StorageClass"): ("parameters", "provisioner"),
    ("v1", "PersistentVolume"): _VOLUME,
    ("v1", "PersistentVolumeClaim"): (
        *("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    ),
    ("v1", "Pod"): (*_POD, *_CONTAINER),
    ("v1", "ResourceQuota"): ("spec.scopes",),
    ("v1", "Secret"): ("type",),
    ("v1", "Service"): ("spec.clusterIP",),
}


def force_new(obj: Values, *, secret_mutable: bool, config_map_mutable: bool) -> list[tuple[str, ...]]:
    """The paths for an object, `*` standing for each element of a list.

    What is not listed is updated in place, and so is what the API server then refuses: a CronJob, a Role, a
    NetworkPolicy, a PodDisruptionBudget of policy/v1.
    """
    kind = (str(obj.get("apiVersion")), str(obj.get("kind")))
    fields = _BY_KIND.get(kind, ())
    immutable = obj.get("immutable") is True
    if kind == ("v1", "Secret") and (not secret_mutable or immutable):
        fields = ("type", "stringData", "data")
    elif kind == ("v1", "ConfigMap") and (not config_map_mutable or immutable):
        fields = ("binaryData", "data")
    return [tuple(field.split(".")) for field in (*ALWAYS, *fields)]
