"""A Kubernetes cluster of one node, another machine in all that matters, on this one.

The API server, the controllers, the kubelet with containerd, kube-proxy and CoreDNS are the real ones, with a default
StorageClass of folders on the node. Network, processes, host name, /run, /tmp and /var are its own. It has a way to
this machine alone, where pods come by the node's address.

Of kube-router there is the part that enforces NetworkPolicies. Nobody enforces the size of claims.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from lab.images import ensure_runner_for_pods, recorded
from lab.programs import COREDNS, PAUSE
from tests.cluster.control_plane import SERVICE_NETWORK, ControlPlane, require_parts
from tests.engine.machine import Machine, first_process, new_place
from tests.engine.world import STEP_SECONDS, install, missing, run, wait_for
from toolchain.debian import find_program, root_prefix
from toolchain.engine import daemon_path
from toolchain.gobuild import build
from toolchain.shared import cache_dir, digest_of, file_lock, make_say, whole_directory

START_SECONDS = 120
LOAD_SECONDS = 300
_PACKAGES = {"nft": "nftables", "iptables": "iptables", "ipset": "ipset"}
"""Debian's package by the program that is looked for, beside those that come with Docker."""
_PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_POD_NETWORK = "10.244.0.0/16"
_DNS_SERVICE = "10.96.0.10"
_COREDNS_IMAGE = f"dindrunner.local/coredns:{COREDNS.version}"
_PAUSE_IMAGE = f"dindrunner.local/pause:{PAUSE.version}"
_OWN_IMAGES = {_PAUSE_IMAGE: PAUSE, _COREDNS_IMAGE: COREDNS}
"""Images with nothing but one program."""
_CONTAINERD = "/run/containerd/containerd.sock"

# $3: data; the others: more folders that have to be seen as they are.
_PREPARE = """\
data=$3
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
# Kubernetes uses fixed places in these; what is needed of ours stays where it is, should it lie in them.
for kept in "$@"; do
    case $kept in /*) mkdir -p "/run/kept$kept"; mount --bind "$kept" "/run/kept$kept";; esac
done
for place in /tmp /var/lib /var/log; do
    mkdir -p "/run/kept$data$place"
    mount --bind "/run/kept$data$place" "$place"
done
chmod 1777 /tmp
for kept in "$@"; do
    case $kept in /*) mkdir -p "$kept"; mount --bind "/run/kept$kept" "$kept";; esac
done
# The kubelet sets these, which are this whole machine's, unless it finds them set.
while read -r setting value; do
    if [ -e "/proc/sys/$setting" ]; then
        mkdir -p "/run/sysctl/${setting%/*}"
        echo "$value" > "/run/sysctl/$setting"
        mount --bind "/run/sysctl/$setting" "/proc/sys/$setting"
    fi
done <<'settings'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
settings
mount --make-rshared /
echo 1 > /proc/sys/net/ipv4/ip_forward
"""

_CONTAINERD_CONFIG = """\
version = 2
root = "{data}/containerd"
state = "/run/containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{directory}/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{directory}/registries"
"""

# The names of the cluster; for all others nobody can be asked.
_COREFILE = """\
cluster.local:53 in-addr.arpa:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa
}
.:53 {
    template ANY ANY . {
        rcode NXDOMAIN
    }
}
"""

_IN_SYSTEM = {"name": "coredns", "namespace": "kube-system"}
_DNS_LABELS = {"k8s-app": "kube-dns"}


class Node(ControlPlane):
    """A running cluster; what pods are made of is on `machine`."""

    def __init__(self, directory: Path, machine: Machine, data: Path) -> None:
        super().__init__(
            directory, machine.host, port=6443, etcd_port=2379, context=machine.name, enter=machine.enter()
        )
        self.machine = machine
        self._data = data

    @property
    def name(self) -> str:
        """Of the node in the cluster, and of the machine."""
        return self.machine.name

    def exec(self, namespace: str, pod: str, *command: str, check: bool = True, seconds: float = STEP_SECONDS) -> str:
        """What a command in a pod's first container printed, stripped; without `check` its errors as well."""
        done = self.kubectl("exec", f"--namespace={namespace}", pod, "--", *command, check=check, seconds=seconds)
        return (done.stdout if check else done.stdout + done.stderr).strip()

    def wait_for_pod_ready(self, namespace: str, pod: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """The pod of this name once it is ready; AssertionError that says what became of it instead."""

        def probe() -> dict[str, Any] | None:
            found = self.kubectl("get", "pod", pod, f"--namespace={namespace}", "--output=json", check=False)
            read = json.loads(found.stdout) if found.returncode == 0 else {}
            return read if _condition(read, "Ready") else None

        try:
            return wait_for(f"pod {pod} to be ready", seconds, probe)
        except AssertionError as error:
            told = self.kubectl("describe", "pod", pod, f"--namespace={namespace}", check=False)
            raise AssertionError(f"{error}:\n{told.stdout}{told.stderr}") from None

    def wait_for_rollout(self, namespace: str, workload: str, seconds: float = START_SECONDS) -> None:
        """Wait until a workload, such as `deployment/x`, has all of its pods as it wants them, and ready."""
        limit = f"--timeout={seconds:.0f}s"
        done = self.kubectl(
            "rollout", "status", workload, f"--namespace={namespace}", limit, check=False, seconds=seconds + 30
        )
        if done.returncode:
            told = self.kubectl("describe", "pods", f"--namespace={namespace}", check=False)
            raise AssertionError(f"{workload}: {done.stdout}{done.stderr}\n{told.stdout}")

    def load_image(self, *images: str) -> None:
        """Copy images from this machine's engine to the node."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            assert saved.stdout
            try:
                self._import(saved.stdout)
            finally:
                saved.kill()

    def start(self) -> None:
        """Start all parts; returns once pods can be made and find each other by name."""
        self._give_images()
        self._start_containerd()
        super().start()
        self.start_controllers("*", options=["--enable-hostpath-provisioner=true", "--node-monitor-period=1s"])
        scheduler = self.write_kubeconfig("system:kube-scheduler")
        self.start_part("kube-scheduler", f"--kubeconfig={scheduler}", "--secure-port=0", "--leader-elect=false")
        self._start_kubelet()
        self.apply(*_system_objects())
        wait_for("the node", START_SECONDS, self._is_registered)
        self._start_proxy()
        self._start_policies()
        wait_for("the node to be ready", START_SECONDS, self._is_ready)
        self.wait_for_rollout("kube-system", "deployment/coredns")

    def shut_down(self) -> None:
        """End all its processes, and wait for them; none is asked whether it likes that."""
        self.machine.shut_down(*self._processes.values())

    def _give_images(self) -> None:
        """Fill containerd's folder with the images that every node gets; links to what an earlier node has unpacked."""
        images = [*node_images().values()]
        ids = run("docker", "image", "inspect", "--format={{.Id}}", *images).stdout if images else ""
        programs = {image: build(program, say=make_say()) for image, program in _OWN_IMAGES.items()}
        version = run(_docker_program("containerd"), "--version").stdout
        # Their names as well: a new recipe may come to the same image.
        known = _nodes() / f"images-{digest_of(ids, *images, version, *map(str, programs.values()))}"
        own = self._data / "containerd"
        with file_lock(_nodes() / "images.lock", say=make_say()):
            if known.exists():
                _copy_store(known, own)
                return
            self._start_containerd()
            for image, program in programs.items():
                with tempfile.TemporaryFile() as archive:
                    _write_image(archive, image, program)
                    self._import(archive)
            if images:
                self.load_image(*images)
            self.stop_process("containerd")
            # What nodes have of these is theirs.
            for old in _nodes().glob("images-*"):
                shutil.rmtree(old)
            with whole_directory(known) as folder:
                _copy_store(own, folder)

    def _start_containerd(self) -> None:
        config = str(self.directory / "containerd.toml")
        path = f"PATH={daemon_path(make_say())}"
        self.start_process("containerd", "env", path, _docker_program("containerd"), "--config", config)
        self.wait_for_process("containerd", self._containerd_answers)

    def _start_kubelet(self) -> None:
        kubeconfig = self.write_kubeconfig(f"system:node:{self.name}", "system:nodes")
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.host,
            "authentication": {"x509": {"clientCAFile": str(self.directory / "ca.pem")}},
            "clusterDNS": [_DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{_CONTAINERD}",
            "resolvConf": str(self.directory / "resolv.conf"),
            "volumePluginDir": "/var/lib/kubelet/plugins",
            # A changed Secret reaches its pods at the next one, a minute later by default.
            "syncFrequency": "5s",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.name}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            # It may not be allowed to lower its own.
            "oomScoreAdj": 0,
            # This machine's disk may be as full as its owner likes it.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        }
        self._write_yaml("kubelet.yaml", config)
        self.start_part(
            "kubelet",
            f"--config={self.directory / 'kubelet.yaml'}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.host}",
        )

    def _start_proxy(self) -> None:
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": _POD_NETWORK,
            "clientConnection": {"kubeconfig": str(self.write_kubeconfig("system:kube-proxy"))},
            "hostnameOverride": self.name,
            # The table of connections has the size that this machine gives it.
            "conntrack": {"maxPerCore": 0},
        }
        self._write_yaml("kube-proxy.yaml", config)
        self.start_part("kube-proxy", f"--config={self.directory / 'kube-proxy.yaml'}")

    def _start_policies(self) -> None:
        kubeconfig = self.write_kubeconfig("kube-router", "system:masters")
        self.start_part(
            "kube-router",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
        )

    def _write_yaml(self, name: str, content: Mapping[str, Any]) -> None:
        (self.directory / name).write_text(yaml.safe_dump(dict(content), sort_keys=False))

    def _import(self, archive: IO[bytes]) -> None:
        """Give containerd the images of a `docker save`; archive: a file or a pipe."""
        run(*self._ctr(), "--namespace", "k8s.io", "images", "import", "-", stdin=archive, seconds=LOAD_SECONDS)

    def _ctr(self) -> list[str]:
        return [*self.machine.enter(), _docker_program("ctr"), "--address", _CONTAINERD]

    def _containerd_answers(self) -> bool:
        return run(*self._ctr(), "version", check=False).returncode == 0

    def _is_registered(self) -> bool | None:
        return True if self.kubectl("get", "node", self.name, check=False).returncode == 0 else None

    def _is_ready(self) -> bool | None:
        return True if _condition(self.get("node", self.name), "Ready") else None


@contextmanager
def running_node(directory: Path, *, registry: str | None = None) -> Iterator[Node]:
    """A new cluster of one node with the stand-in images on it, until the end of the block; then nothing of it is left.

    directory: for its files, empty or not made yet. registry: one that the node asks by plain HTTP.
    """
    _require_parts()
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        place = stack.enter_context(new_place(_nodes(), "node"))
        _make_groups(place.name)
        kept = (str(place.data), str(cache_dir()))
        init = stack.enter_context(first_process("the node", place, directory, _PREPARE, *kept))
        node = Node(directory, Machine(place.name, place.host, directory, init), place.data)
        stack.callback(node.shut_down)
        node.machine.connect(place.gateway)
        _write_files(directory, place.data, registry)
        node.start()
        yield node


def node_images() -> dict[str, str]:
    """The stand-in images that every node gets, by role; none where images are pulled."""
    images = recorded() or {}
    runner = ensure_runner_for_pods(make_say())
    return {**{role: images[role] for role in ("dind", "helper", "job")}, "runner": runner} if runner else {}


def _require_parts() -> None:
    """Skip or fail where this machine cannot have a node."""
    if os.geteuid() != 0:
        missing("a node needs network namespaces, and so root")
    require_parts("ip", "nsenter", "unshare", "setpriv")
    lacking = [package for program, package in _PACKAGES.items() if not find_program(program)]
    lacking += [] if _plugin_folder() else ["containernetworking-plugins"]
    if lacking:
        # Debian's packages of daemons start them, which nobody asked for on a machine of their own.
        if not os.environ.get("CI") and Path("/run/systemd/system").is_dir():
            missing(f"a node needs {', '.join(lacking)} on this machine")
        install(lacking, root_prefix(f"{', '.join(lacking)} have to be installed"))


def _docker_program(name: str) -> str:
    """The path of a program that comes with the Docker of this machine's engine."""
    return shutil.which(name, path=daemon_path(make_say())) or name


def _plugin_folder() -> Path | None:
    """Where the network plugins are."""
    return next((folder for folder in _PLUGINS if (folder / "ptp").exists()), None)


def _nodes() -> Path:
    """Where the nodes' data is: beside that of the toolchain's engine, where overlays work and space is."""
    return cache_dir() / "nodes"


def _make_groups(name: str) -> None:
    """The control group of the pods, which the kubelet wants to be there, in every hierarchy."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        (top / name).mkdir()
        return
    for hierarchy in top.iterdir():
        if hierarchy.is_dir() and not hierarchy.is_symlink() and (hierarchy / "cgroup.procs").exists():
            (hierarchy / name).mkdir()
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / setting).exists():
                    (hierarchy / name / setting).write_text((hierarchy / setting).read_text())


def _write_files(directory: Path, data: Path, registry: str | None) -> None:
    """What containerd and its network plugins read."""
    config = _CONTAINERD_CONFIG.format(
        data=data, socket=_CONTAINERD, pause=_PAUSE_IMAGE, plugins=_plugin_folder(), directory=directory
    )
    (directory / "containerd.toml").write_text(config)
    (directory / "cni").mkdir()
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": _POD_NETWORK}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni",
    }
    # Every pod has a cable of its own to the node, which therefore sees what pods say to each other.
    pods = {"type": "ptp", "ipMasq": True, "ipam": ipam}
    (directory / "cni" / "pods.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [pods]}, indent=2)
    )
    if registry:
        folder = directory / "registries" / registry
        folder.mkdir(parents=True)
        # Without the second line, containerd asks by HTTPS.
        (folder / "hosts.toml").write_text(f'server = "http://{registry}"\n[host."http://{registry}"]\n')
    # There is no way to this address, so that nobody waits for an answer.
    (directory / "resolv.conf").write_text("nameserver 198.51.100.1\n")


def _copy_store(source: Path, target: Path) -> None:
    """Copy containerd's folder: its databases, and links to all else, in which nothing is changed once it is there."""
    target.mkdir(exist_ok=True)
    run("cp", "--archive", "--link", f"{source}/.", str(target))
    for database in source.glob("*/*.db"):
        copy = target / database.relative_to(source)
        copy.unlink()
        shutil.copy2(database, copy)


def _write_image(archive: IO[bytes], image: str, program: Path) -> None:
    """An image with nothing but one program, as `docker save` writes it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, arcname=program.name, filter=_of_root)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=archive, mode="w") as tar:
        contents = {"layer.tar": layer.getvalue()}
        contents |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _system_objects() -> list[dict[str, Any]]:
    """What is in a cluster before anybody deploys to it: a default StorageClass, and names."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/host-path",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _IN_SYSTEM},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", **_IN_SYSTEM}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _IN_SYSTEM, "data": {"Corefile": _COREFILE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {
                "clusterIP": _DNS_SERVICE,
                "selector": _DNS_LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _IN_SYSTEM,
            "spec": {
                "selector": {"matchLabels": _DNS_LABELS},
                "template": {"metadata": {"labels": _DNS_LABELS}, "spec": _coredns_pod()},
            },
        },
    ]


def _coredns_pod() -> dict[str, Any]:
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
        "containers": [
            {
                "name": "coredns",
                "image": _COREDNS_IMAGE,
                "imagePullPolicy": "Never",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
            }
        ],
    }


def _condition(found: Mapping[str, Any], kind: str) -> bool:
    """Whether an object has this condition."""
    conditions: Sequence[Mapping[str, str]] = found.get("status", {}).get("conditions", [])
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)
