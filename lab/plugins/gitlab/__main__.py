"""The plugin process, as the Pulumi engine starts it: prints its port, then serves until the engine is gone."""

from lab.plugins.gitlab.plugin import serve

if __name__ == "__main__":
    serve()
