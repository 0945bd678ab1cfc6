"""A stand-in for the official Pulumi plugin `tls`, which no package registry holds. For tests only.

It serves the official SDK of the version that the toolchain pins over gRPC. It is as the official plugin where that
matters to a stack: what a preview shows, what is replaced and in which order, what is secret. `install.install_into`
puts it into a Pulumi home, or the official one where this machine has it.

`python -m lab.plugins.tls` is the plugin process. The engine starts it by a launcher in its home, which has to `exec`
it: a plugin process ends when its parent does.
"""
