//go:build with_kubernetes

package main

import (
	"gitlab.com/gitlab-org/gitlab-runner/common"
	"gitlab.com/gitlab-org/gitlab-runner/executors/kubernetes"
)

func init() {
	elsewhere[common.ExecutorKubernetes] = kubernetes.NewProvider()
}
