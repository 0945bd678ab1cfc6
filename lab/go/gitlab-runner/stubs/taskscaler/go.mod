// Stands in for a module that no registry serves: what gitlab-runner is compiled against, and no more.
module gitlab.com/gitlab-org/fleeting/taskscaler

go 1.26

require github.com/gorhill/cronexpr v0.0.0-20180427100037-88b0669f7d75
