"""Reads the outputs of a stack of gitlab-dind-runners, and tells a GitLab project how to use its runners."""

import pulumi
import pulumi_gitlab as gitlab
from outputs import VARIABLES, check_name, read  # type: ignore[import-not-found]  # it is beside this file

config = pulumi.Config()
stack, project = check_name(config.require("runners-stack")), config.require("project")
branch, file = config.get("branch"), config.get("file", ".gitlab/runners.yml")
prefix = config.get("prefix", "DIND_RUNNER")

outputs = pulumi.StackReference(stack).outputs
runners = outputs.apply(lambda found: read(stack, found, project=project, runner=config.get("runner")))

provider = gitlab.Provider(
    "gitlab",
    base_url=runners.apply(lambda found: f"{found.url}/api/v4/"),
    # Without it, it is GITLAB_TOKEN.
    token=pulumi.Config("gitlab").get_secret("token"),
)
opts = pulumi.ResourceOptions(provider=provider)

variables = runners.apply(lambda found: found.variables)
for end in VARIABLES:
    gitlab.ProjectVariable(
        f"variable-{end.lower()}",
        project=project,
        key=f"{prefix}_{end}",
        value=variables[end],
        # Or GitLab would expand a dollar in it.
        raw=True,
        description=f"Of {stack}",
        opts=opts,
    )

fragment = runners.apply(lambda found: found.fragment)
if branch:
    gitlab.RepositoryFile(
        "fragment",
        project=project,
        branch=branch,
        file_path=file,
        content=fragment,
        encoding="text",
        # No pipeline for it: nothing of the project itself has changed.
        commit_message=f"Take over the runners of {stack} [skip ci]",
        opts=opts,
    )

pulumi.export("fragment", fragment)
pulumi.export("runner", runners.apply(lambda found: found.builder.name))
