"""Stand-ins for the official Pulumi plugins `kubernetes` and `tls`, which no package registry holds. For tests only.

They serve the official SDKs of these versions over gRPC as the official plugins do where it matters to a stack: what a
preview shows, what is replaced and in which order, what is secret, what is waited for. `install.install_into` puts
them into a Pulumi home, or the official ones where this machine has them.

`python -m tests.plugins.kubernetes` and `python -m tests.plugins.tls` are the plugin processes. The engine starts them
by launchers in its home, which have to `exec` them: a plugin process ends when its parent does.
"""

VERSIONS = {"kubernetes": "4.34.2", "tls": "5.6.2"}
"""The versions of the official plugins that they stand in for."""
