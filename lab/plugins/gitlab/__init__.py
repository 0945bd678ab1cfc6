"""A stand-in for the official Pulumi GitLab plugin, which no package registry holds.

It serves the official `pulumi_gitlab` SDK with what this project and its examples use: the resources UserRunner,
ProjectVariable and RepositoryFile, and the functions getProject and getGroup. It works with the sandbox GitLab and
refuses every other one, before any token is sent.

`python -m lab.plugins.gitlab` is the plugin process. The engine starts it by the launcher
`plugins/resource-gitlab-v10.4.0/pulumi-resource-gitlab` in its home, which has to `exec` it: the process ends when its
parent does. See docs/lab/gitlab-plugin.md.
"""

VERSION = "10.4.0"
"""The version of the official plugin that it stands in for."""
INSTALL_OFFICIAL = f"pulumi plugin install resource gitlab {VERSION} --reinstall"
"""How to get the official one: without `--reinstall` Pulumi finds this one in its place and does nothing."""
