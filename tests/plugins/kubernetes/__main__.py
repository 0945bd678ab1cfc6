"""The plugin process, as the Pulumi engine starts it: prints its port, then serves until the engine is gone."""

from tests.plugins.base import serve
from tests.plugins.kubernetes.plugin import KubernetesPlugin

if __name__ == "__main__":
    serve(KubernetesPlugin())
