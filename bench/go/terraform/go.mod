module gitlab-dind-runners/bench/terraform

go 1.26.6

require (
	github.com/opentofu/opentofu v1.12.6
	github.com/terraform-providers/terraform-provider-docker v0.0.0
)

replace github.com/hashicorp/hcl/v2 => github.com/opentofu/hcl/v2 v2.20.2-0.20251021132045-587d123c2828

replace github.com/terraform-providers/terraform-provider-docker => github.com/kreuzwerker/terraform-provider-docker v0.0.0-20260916201441-96d331c98ff4
