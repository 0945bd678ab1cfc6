"""The plugin process, as the Pulumi engine starts it: prints its port, then serves until the engine is gone."""

from lab.plugins.base import serve
from lab.plugins.tls.plugin import TlsPlugin

if __name__ == "__main__":
    serve(TlsPlugin())
