"""The keys of GitLab Runner's config.toml as data: what each may hold, who sets it, and whom it is safe for. Pure.

Keys and types are those of the runner's own structures (`lab/go/gitlab-runner/keys` prints them). What they mean and
since when they are there: https://docs.gitlab.com/runner/configuration/advanced-configuration/, for pods
https://docs.gitlab.com/runner/executors/kubernetes/#configuration-settings, and the runner's CHANGELOG.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from .quantities import amount, docker_bytes

Place: TypeAlias = tuple[str | int, ...]

VERSION = "19.4"
"""Of the GitLab Runner whose keys these are."""


class Fit(StrEnum):
    """Whom a key is for."""

    SAFE = "safe"
    """Means the same everywhere, and is nothing to fear on a runner that is open to unprotected refs."""
    TRUSTED = "trusted"
    """Means the same everywhere, but only those who may be trusted should run jobs beside it."""
    HOST = "host"
    """Names something that the daemon's machine has, so it means the same only where the daemon stays the same."""
    WALL = "wall"
    """Makes the wall around a job lower."""
    LOST = "lost"
    """Does nothing here, or not by itself: `needs` says why."""
    UNSERVED = "unserved"
    """The table of an executor that no target has; what is in it is not listed."""


class By(StrEnum):
    """Who sets a key, by the mark before the typed setting that has the same."""

    NOBODY = "-"
    PROGRAM = "*"
    """The program fills it in, where it has to: `extra` may say otherwise."""
    SETTING = "="
    """A typed setting, and `extra` may not."""
    IN_PART = "~"
    """A typed setting, but for values that are too fine for it."""
    JOINED = "+"
    """A typed setting or the program; what `extra` has is added."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A row: path, as `gitlab-runner lint` writes it; type; who sets it; since: version of the runner, where known."""

    path: str
    type: str
    fit: Fit
    by: By
    setting: str
    since: str
    needs: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def table(self) -> str:
        return self.path.rpartition(".")[0]


_TABLE = """
concurrent                    whole     safe     =concurrent
check_interval                whole     safe     =check_interval
log_level                     text      safe     =log_level
listen_address                text      safe     =metrics_address
runners                       [table]   safe     =runners
log_format                    text      safe     -
log_field_schema_version      whole     safe     -
log_field_dual_emit_target    whole     safe     -
shutdown_timeout              whole     safe     -
connection_max_age            duration  safe     -
sentry_dsn                    text      safe     -
labels                        {text}    safe     -
user                          text      lost     -  : the runner runs as the user of its image
machine                       table     unserved -  18.10 : there is no autoscaling: the stack has one machine or one cluster
session_server                table     lost     -  : no port of the runner is published, so no browser would reach its web terminal
session_server.{listen_address,advertise_address} text trusted -
session_server.session_timeout whole    trusted  -
experimental                  table     lost     -  : it is experimental: write it in extra, where it is needed
experimental.usage_logger     table     trusted  -
experimental.usage_logger.enabled flag trusted -
experimental.usage_logger.{log_dir,logrotate.log_dir} text trusted -
experimental.usage_logger.{labels,logrotate.labels,snowplow_billing.metadata} {text} trusted -
experimental.usage_logger.{logrotate,snowplow_billing} table trusted -
experimental.usage_logger.{max_backup_files,logrotate.max_backup_files} whole trusted -
experimental.usage_logger.{max_rotation_age,logrotate.max_rotation_age} duration trusted -
experimental.usage_logger.writers [text] trusted -
experimental.usage_logger.snowplow_billing.{app_id,category,collector_uri,deployment_type,realm} text trusted -
experimental.usage_logger.snowplow_billing.{enable_oidc,skip_oidc_if_unsupported_cloud,skip_runner_system_failure} flag trusted -
experimental.usage_logger.snowplow_billing.batch_delivery_duration_buckets [number] trusted -

[runners]
name                          text      safe     =runners[].name
url                           text      safe     =gitlab.url
token                         text      safe     =runners[].token
executor                      text      safe     =runners[].executor
limit                         whole     safe     =runners[].limit
request_concurrency           whole     safe     =runners[].request_concurrency
environment                   [text]    safe     +runners[].environment
tls-ca-file                   text      safe     =gitlab.ca_file
cache                         table     safe     =runners[].cache
docker                        table     safe     *
kubernetes                    table     safe     *
feature_flags                 {flag}    safe     +
id                          whole     lost     -  : the registration's own note, which nothing reads
token_obtained_at             time      lost     -  : the registration's own note, which nothing reads
token_expires_at              time      lost     -  : the registration's own note; the stack does not renew a token by itself
{tls-cert-file,tls-key-file}  text      lost     -  : the runner's container has no certificate of a client for GitLab
output_limit                  whole     safe     -
{builds_dir,cache_dir}        text      trusted  -
clone_url                     text      safe     -
{pre_get_sources_script,post_get_sources_script} text trusted -
{pre_build_script,post_build_script} text trusted -
shell                         text      safe     -
custom_build_dir              table     safe     -  11.10
custom_build_dir.enabled      flag      safe     -
unhealthy_requests_limit      whole     safe     -
unhealthy_interval            duration  safe     -
job_status_final_update_retry_limit whole safe   -
strict_check_interval         flag      safe     -
prepare_timeout               duration  safe     -  19.0
get_sources_timeout           duration  safe     -  19.1
debug_trace_disabled          flag      safe     -
safe_directory_checkout       flag      safe     -
clean_git_config              flag      safe     -  17.10
proxy_exec                    flag      trusted  -
artifact                      table     safe     -  18.10
artifact.{response_header_timeout,upload_timeout} duration safe -
labels                        {text}    safe     -
step_runner_image             text      trusted  -
use_slot_cgroups            flag      lost     -  : the cgroups would have to be made on the daemon's machine first
slot_cgroup_template          text      lost     -  : the cgroups would have to be made on the daemon's machine first
monitoring                    table     lost     -  : it is experimental: write it in extra, where it is needed
monitoring.job_queuing_durations [table] safe    -
monitoring.job_queuing_durations.periods [text] safe -
monitoring.job_queuing_durations.threshold duration safe -
monitoring.job_queuing_durations.{timezone,jobs_running_for_project} text safe -
experimental                  table     lost     -  : it is experimental: write it in extra, where it is needed
experimental.boot_verify      table     safe     -
experimental.boot_verify.{enabled,verify_auth,verify_cache,verify_helper_version,verify_server_url,verify_server_url_insecure} flag safe -
experimental.boot_verify.{acquire_max_backoff,acquire_min_backoff,timeout} duration safe -
experimental.boot_verify.verify_commands [text] safe -
referees                      table     unserved -  : only executor docker+machine has metrics of its machines
instance                      table     unserved -  : executor instance is not supported
ssh                           table     unserved -  : executor ssh is not supported
parallels                     table     unserved -  : executor parallels is not supported
virtualbox                    table     unserved -  : executor virtualbox is not supported
machine                       table     unserved -  : executor docker+machine is not supported
custom                        table     unserved -  : executor custom is not supported
autoscaler                    table     unserved -  : the executors with autoscaling are not supported

[runners.cache]
{Type,Path}                   text      safe     -
{Shared,RedactURL}            flag      safe     -
MaxUploadedArchiveSize        whole     safe     -
{s3,gcs,azure}                table     safe     -
azure.{AccountKey,AccountName,ContainerName,StorageDomain} text safe -
gcs.CredentialsFile           text      safe     -  : the runner's container has no such file
gcs.{AccessID,BucketName,PrivateKey} text safe   -
gcs.UniverseDomain            text      safe     -  18.9
s3.{AccessKey,AuthenticationType,BucketLocation,BucketName,SecretKey,ServerAddress,SessionToken,UploadRoleARN} text safe -
s3.{ServerSideEncryption,ServerSideEncryptionKeyID} text safe -
s3.RoleARN                    text      safe     -  17.8
s3.{Accelerate,DisableAssumeRoleCredentialsCaching,DualStack,Insecure,PathStyle} flag safe -
s3.AssumeRoleMaxConcurrency   whole     safe     -

[runners.docker]
host                          text      wall     =runners[].kind
tls_verify                    flag      wall     =daemon.transport
tls_cert_path                 text      wall     =daemon.transport
image                         text      safe     =runners[].image
helper_image                  text      safe     =runners[].helper_image
privileged                    flag      wall     =runners[].privileged
pull_policy                   text|[text] trusted =runners[].pull_policy
volumes                       [text]    trusted  +runners[].volumes
network_mode                  text      trusted  =runners[].network_mode
cpus                          text      safe     ~runners[].cpus
memory                        text      safe     ~runners[].memory_mib
shm_size                      whole     safe     ~runners[].shm_size_mib
{service_cpus,service_memory} text      safe     *
services                      [table]   trusted  *
services_privileged           flag      wall     *
allowed_privileged_services   [text]    wall     +
extra_hosts                   [text]    safe     +
hostname                      text      safe     -
{memory_swap,memory_reservation,cpuset_cpus,cpuset_mems} text safe -
{service_memory_swap,service_memory_reservation,service_cpuset_cpus} text safe -
{cpu_shares,service_cpu_shares} whole   safe     -
{dns,dns_search}              [text]    safe     -
disable_entrypoint_overwrite  flag      safe     -
user                          text      safe     -
allowed_users                 [text]    safe     -  16.8
group_add                     [text]    trusted  -
cap_drop                      [text]    safe     -
disable_cache                 flag      safe     -
volume_keep                   flag      safe     -  18.10
cache_dir                     text      trusted  -
{services_limit,wait_for_services_timeout} whole safe -
{allowed_images,allowed_pull_policies,allowed_services} [text] safe -
{tmpfs,services_tmpfs}        {text}    safe     -
sysctls                       {text}    trusted  -
helper_image_flavor           text      safe     -
container_labels              {text}    safe     -  14.10
enable_ipv6                   flag      safe     -  : IPv6 in the daemon, and FF_NETWORK_PER_BUILD
ulimit                        {text}    trusted  -
network_mtu                   whole     safe     -  : FF_NETWORK_PER_BUILD
log_options                   {text}    safe     -
mac_address                   text      safe     -  15.8
runtime                       text      host     -
{gpus,service_gpus}           text      host     -
{cgroup_parent,service_cgroup_parent} text host  -  16.10
service_slot_cgroup_template  text      host     -
isolation                     text      host     -
{volumes_from,links}          [text]    host     -
volume_driver                 text      host     -
volume_driver_ops             {text}    host     -
{cap_add,devices,device_cgroup_rules} [text] wall -
services_devices              {[text]}  wall     -
{security_opt,services_security_opt} [text] wall -
{userns_mode,pid_mode,ipcmode} text     wall     -
oom_kill_disable              flag      wall     -
oom_score_adjust              whole     wall     -
allowed_privileged_images     [text]    wall     -

[runners.{docker,kubernetes}.services]
{name,alias,suspend_data_path} text     trusted  -
{entrypoint,command,environment} [text] trusted  -

[runners.kubernetes]
image                         text      safe     =runners[].image
helper_image                  text      safe     =runners[].helper_image
namespace                     text      wall     =namespace
pull_policy                   text|[text] trusted =runners[].pull_policy
privileged                    flag      wall     =runners[].privileged
node_selector                 {text}    safe     =runners[].node_selector
node_tolerations              {text}    safe     =runners[].tolerations
cpu_limit                     text      safe     ~runners[].cpus
memory_limit                  text      safe     ~runners[].memory_mib
cpu_request                   text      safe     ~runners[].cpu_request
memory_request                text      safe     ~runners[].memory_request_mib
service_{cpu,memory}_{limit,request} text safe   *
service_account               text      wall     *
automount_service_account_token flag    wall     *  16.9
poll_timeout                  whole     safe     *
pod_labels                    {text}    trusted  +
pod_annotations               {text}    safe     *
volumes                       table     trusted  *
services                      [table]   trusted  -
{helper,pod}_{cpu,memory}_{limit,request} text safe -
{,helper_,service_}ephemeral_storage_{limit,request} text safe -
{,helper_,service_,pod_}{cpu,memory}_{limit,request}_overwrite_max_allowed text trusted -
{,helper_,service_}ephemeral_storage_{limit,request}_overwrite_max_allowed text trusted -
{node_selector,node_tolerations,pod_annotations}_overwrite_allowed text trusted -
runtime_class_name            text      trusted  -  14.9
{allowed_images,allowed_pull_policies,allowed_services} [text] safe -
{allowed_users,allowed_groups} [text]   safe     -  18.4
affinity                      table     safe     -
image_pull_secrets            [text]    trusted  -
use_service_account_image_pull_secrets flag trusted -
helper_image_flavor           text      safe     -
helper_image_autoset_arch_and_os flag   safe     -
{pod_termination,cleanup}_grace_period_seconds whole safe -
cleanup_resources_timeout     duration  safe     -
{poll_interval,resource_availability_check_max_attempts,retry_limit,retry_backoff_max} whole safe -
retry_limits                  {whole}   safe     -
scheduler_name                text      trusted  -
pod_security_context          table     trusted  -
host_aliases                  [table]   trusted  -
host_aliases.ip               text      trusted  -
host_aliases.hostnames        [text]    trusted  -
cap_drop                      [text]    safe     -
dns_policy                    text      safe     -
dns_config                    table     safe     -
dns_config.{nameservers,searches} [text] safe    -
dns_config.options            [table]   safe     -
dns_config.options.{name,value} text    safe     -
priority_class_name           text      trusted  -  15.1
{logs,scripts}_base_dir       text      trusted  -  17.2
print_pod_warning_events      flag      safe     -  18.0
pod_disruption_budget         flag      safe     -  : the right to create, get and delete policy/poddisruptionbudgets
allow_privilege_escalation    flag      wall     -
cap_add                       [text]    wall     -
pod_spec                      [table]   wall     -
pod_spec.{name,patch,patch_path,patch_type} text wall -
container_lifecycle           table     wall     -
{init_permissions,build,helper,service}_container_security_context table wall -
bearer_token_overwrite_allowed flag   wall     -
{namespace,pod_labels,service_account}_overwrite_allowed text wall -
{host,context,cert_file,key_file,ca_file,bearer_token} text lost - : the runner is a pod of the cluster, with an account of its own: see cluster
namespace_per_job             flag      lost     -  : the jobs' pods run in the stack's namespace, where they reach the daemon
autoscaler                    table     lost     -  : it holds nodes free for pods to come: use the cluster's own autoscaler
autoscaler.max_pause_pods     whole     trusted  -
autoscaler.{pause_pod_image,pause_pod_priority_class_name} text trusted -
autoscaler.pause_pod_image_pull_secrets [text] trusted -
autoscaler.policy             [table]   trusted  -
autoscaler.policy.{idle_count,scale_factor_limit} whole trusted -
autoscaler.policy.idle_time   duration  trusted  -
autoscaler.policy.periods     [text]    trusted  -
autoscaler.policy.preemptive_mode flag  trusted  -
autoscaler.policy.scale_factor number   trusted  -
autoscaler.policy.timezone    text      trusted  -
{suspend_pvc_size,suspend_pvc_storage_class} text lost - : jobs that are suspended are not supported

[runners.kubernetes.volumes]
{config_map,csi,empty_dir,pvc,secret} [table] trusted -
nfs                           [table]   trusted  -  19.0
host_path                     [table]   wall     -
{config_map,csi,empty_dir,host_path,nfs,pvc,secret}.{name,mount_path,sub_path} text trusted -
{config_map,csi,host_path,nfs,pvc,secret}.read_only flag trusted -
{config_map,secret}.items     {text}    trusted  -
csi.volume_attributes         {text}    trusted  -
{csi.driver,csi.fs_type,empty_dir.medium,empty_dir.size_limit,host_path.host_path,nfs.path,nfs.server} text trusted -
{empty_dir,host_path,pvc}.mount_propagation text wall -

[runners.kubernetes.pod_security_context]
{run_as_user,run_as_group,fs_group} whole trusted -
run_as_non_root               flag      safe     -
supplemental_groups           [whole]   trusted  -
selinux_type                  text      trusted  -
{seccomp_profile,app_armor_profile} table trusted - 18.11
{seccomp_profile,app_armor_profile}.{type,localhost_profile} text trusted -

[runners.kubernetes.{init_permissions,build,helper,service}_container_security_context]
{privileged,allow_privilege_escalation} flag wall -
{run_as_user,run_as_group}    whole     trusted  -
{run_as_non_root,read_only_root_filesystem} flag safe -
{selinux_type,proc_mount}     text      wall     -
capabilities                  table     wall     -
capabilities.{add,drop}       [text]    wall     -
{seccomp_profile,app_armor_profile} table wall   - 18.11
{seccomp_profile,app_armor_profile}.{type,localhost_profile} text wall -

[runners.kubernetes.container_lifecycle]
{post_start,pre_stop}         table     wall     -
{post_start,pre_stop}.{exec,http_get,tcp_socket} table wall -
{post_start,pre_stop}.exec.command [text] wall   -
{post_start,pre_stop}.http_get.{host,path,scheme} text wall -
{post_start,pre_stop}.http_get.http_headers [table] wall -
{post_start,pre_stop}.http_get.http_headers.{name,value} text wall -
{post_start,pre_stop}.{http_get,tcp_socket}.port whole wall -
{post_start,pre_stop}.tcp_socket.host text wall  -

[runners.kubernetes.affinity]
{node,pod,pod_anti}_affinity  table     safe     -
node_affinity.required_during_scheduling_ignored_during_execution table safe -
node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms [table] safe -
node_affinity.preferred_during_scheduling_ignored_during_execution [table] safe -
node_affinity.preferred_during_scheduling_ignored_during_execution.preference table safe -
{pod,pod_anti}_affinity.{required,preferred}_during_scheduling_ignored_during_execution [table] safe -
{pod,pod_anti}_affinity.preferred_during_scheduling_ignored_during_execution.pod_affinity_term table safe -
{node,pod,pod_anti}_affinity.preferred_during_scheduling_ignored_during_execution.weight whole safe -

[runners.kubernetes.affinity.node_affinity.{required_during_scheduling_ignored_during_execution.node_selector_terms,preferred_during_scheduling_ignored_during_execution.preference}]
{match_expressions,match_fields} [table] safe -
{match_expressions,match_fields}.{key,operator} text safe -
{match_expressions,match_fields}.values [text] safe -

[runners.kubernetes.affinity.{pod,pod_anti}_affinity.{required_during_scheduling_ignored_during_execution,preferred_during_scheduling_ignored_during_execution.pod_affinity_term}]
topology_key                  text      safe     -
{namespaces,match_label_keys,mismatch_label_keys} [text] safe -
{label_selector,namespace_selector} table safe   -
{label_selector,namespace_selector}.match_labels {text} safe -
{label_selector,namespace_selector}.match_expressions [table] safe -
{label_selector,namespace_selector}.match_expressions.{key,operator} text safe -
{label_selector,namespace_selector}.match_expressions.values [text] safe -
"""  # noqa: E501 one line a key is what makes it a table
"""A line each: key, type, fit, who sets it, version since, needs; `{a,b}` is one line for each of them."""


def _alternatives(text: str) -> Iterator[str]:
    if (found := re.search(r"\{([^{}]*)\}", text)) is None:
        yield text
        return
    for each in found[1].split(","):
        yield from _alternatives(text[: found.start()] + each + text[found.end() :])


def _rows() -> Iterator[Key]:
    tables = [""]
    for line in filter(None, _TABLE.splitlines()):
        if line.startswith("["):
            tables = [f"{table}." for table in _alternatives(line[1:-1])]
            continue
        columns, _, needs = line.partition(" : ")
        names, kind, fit, by, *since = columns.split()
        for table in tables:
            for name in _alternatives(names):
                yield Key(
                    path=table + name,
                    type=kind,
                    fit=Fit(fit),
                    by=By(by[0]),
                    setting=by[1:],
                    since="".join(since),
                    needs=needs,
                )


KEYS: Mapping[str, Key] = {key.path: key for key in _rows()}
"""Every key, by its path."""


def fold(name: object) -> str:
    """What the runner's decoder compares, which ignores case as Go's `strings.EqualFold` does."""
    return str(name).casefold()


_IN_TABLE: dict[str, dict[str, Key]] = {}
for _key in KEYS.values():
    _IN_TABLE.setdefault(_key.table, {})[fold(_key.name)] = _key


def spelled(table: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """A table with the runner's own spelling of its keys. at: path of the table; empty for the whole file."""
    rows = _IN_TABLE.get(at, {})

    def name_and_value(name: str, value: Any) -> tuple[str, Any]:
        row = rows.get(fold(name))
        return (row.name, _spelled_below(value, row.path)) if row else (name, value)

    return dict(name_and_value(name, value) for name, value in table.items())


def _spelled_below(value: Any, at: str) -> Any:
    if at not in _IN_TABLE:
        return value
    if isinstance(value, list):
        return [_spelled_below(each, at) for each in value]
    return spelled(value, at) if isinstance(value, Mapping) else value


def mistakes(table: Mapping[str, Any], at: str, unchecked: Collection[str]) -> Iterator[tuple[Place, str]]:
    """What is wrong in a table that is laid over what the program renders: the place of each mistake, and what it is.

    at: path of the table; empty for the whole file. unchecked: folded paths of keys that are let through unknown.
    """
    rows, seen = _IN_TABLE.get(at, {}), dict[str, object]()
    for name, value in table.items():
        path, folded = f"{at}.{name}".removeprefix("."), fold(name)
        row = rows.get(folded)
        if folded in seen:
            yield (name,), f"is the same key as {seen[folded]}, because GitLab Runner ignores case: remove one"
        elif row is None and fold(path) not in unchecked:
            yield (name,), _unknown(name, path, rows)
        elif row is not None:
            yield from (((name, *place), text) for place, text in _wrong(row, value, unchecked))
        seen.setdefault(folded, name)


def _unknown(name: object, path: str, rows: Mapping[str, Key]) -> str:
    near = difflib.get_close_matches(fold(name), rows, n=1)
    remedy = f"did you mean {rows[near[0]].name}?" if near else "remove it."
    newer = f"extra_unchecked: [{path.removeprefix('runners.')}]"
    return f"is no key of GitLab Runner {VERSION}: {remedy} {newer} lets a key of a newer runner through"


def _wrong(row: Key, value: Any, unchecked: Collection[str]) -> Iterator[tuple[Place, str]]:
    if row.fit is Fit.UNSERVED:
        yield (), f"does nothing, as {row.needs}: remove it"
    elif row.by is By.SETTING or (row.by is By.IN_PART and not is_too_fine(row, value)):
        yield (), f"is what {row.setting} sets: write it there, and remove it here"
    elif not _is_of(row.type, value):
        yield (), f"is of the wrong type: write {_words(row.type)}"
    elif row.path in _IN_TABLE:
        for index, each in enumerate(value) if isinstance(value, list) else [(None, value)]:
            for place, text in mistakes(each, row.path, unchecked):
                yield (place if index is None else (index, *place)), text


def is_too_fine(key: Key, value: object) -> bool:
    """Whether the typed setting that has a key, in tenths or in MiB, cannot hold a value."""
    if "cpu" in key.name:
        cpus = amount(value)
        return cpus is None or not round(cpus, 1) == cpus > 0
    on_cluster = key.table.endswith("kubernetes")
    size = value if type(value) is int else amount(value) if on_cluster else docker_bytes(value)
    least = 1 if key.name == "shm_size" else 64 if on_cluster else 16
    return size is None or size % 2**20 != 0 or size < least * 2**20


_WORDS = {
    "text": ("a text", "texts"),
    "flag": ("true or false", "true or false"),
    "whole": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "duration": ("a duration such as 2m", "durations"),
    "time": ("a time", "times"),
    "table": ("a table", "tables"),
    "[text]": ("a list of texts", "lists of texts"),
}
"""How messages call a value of a type, and several."""
_DURATION = r"[-+]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)"
"""As Go's `time.ParseDuration` takes it."""
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "flag": (bool,),
    "whole": (int,),
    "number": (int, float),
    "duration": (str, int),
    "time": (str,),
    "table": (Mapping,),
}


def _words(kind: str) -> str:
    if "|" in kind:
        return " or ".join(_words(each) for each in kind.split("|"))
    if kind in _WORDS:
        return _WORDS[kind][0]
    return f"a {'list' if kind.startswith('[') else 'table'} of {_WORDS[kind[1:-1]][1]}"


def _is_of(kind: str, value: object) -> bool:
    if "|" in kind:
        return any(_is_of(each, value) for each in kind.split("|"))
    if kind.startswith("["):
        return isinstance(value, list) and all(_is_of(kind[1:-1], each) for each in value)
    if kind.startswith("{"):
        return isinstance(value, Mapping) and all(_is_of(kind[1:-1], each) for each in value.values())
    if kind == "duration" and isinstance(value, str):
        return re.fullmatch(_DURATION, value) is not None
    return isinstance(value, _PYTHON[kind]) and (isinstance(value, bool) == (kind == "flag"))
