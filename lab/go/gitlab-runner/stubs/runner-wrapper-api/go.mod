// Stands in for a module that no registry serves: what gitlab-runner is compiled against, and no more.
module gitlab.com/gitlab-org/gitlab-runner/helpers/runner_wrapper/api

go 1.26

require github.com/sirupsen/logrus v1.10.0
