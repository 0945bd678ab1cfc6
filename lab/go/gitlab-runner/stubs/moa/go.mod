// Stands in for a module that no registry serves: what gitlab-runner is compiled against, and no more.
module gitlab.com/gitlab-org/moa

go 1.26
