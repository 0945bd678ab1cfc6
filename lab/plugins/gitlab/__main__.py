"""The plugin process, as the Pulumi engine starts it: prints its port, then serves until the engine is gone."""

import logging

from lab.plugins.base import serve
from lab.plugins.gitlab.plugin import GitLabPlugin

if __name__ == "__main__":
    # Its warning of every repetition would be shown to the user; what is left of it in the end is an error with a text.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    serve(GitLabPlugin())
