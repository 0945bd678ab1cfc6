// Package extended would follow steps while they run.
package extended

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"gitlab.com/gitlab-org/step-runner/pkg/api/client"
	"gitlab.com/gitlab-org/step-runner/pkg/di"
)

// Dialer connects to a step-runner.
type Dialer interface {
	Dial() (*grpc.ClientConn, error)
}

// FollowOutput is where output goes.
type FollowOutput struct {
	Logs io.Writer
}

// Client would speak to a step-runner.
type Client struct{}

// New refuses.
func New(Dialer) (*Client, error) { return nil, di.ErrMissing }

// RunAndFollow refuses.
func (*Client) RunAndFollow(context.Context, *client.RunRequest, *FollowOutput) (client.Status, error) {
	return client.Status{}, di.ErrMissing
}

// Cancel refuses.
func (*Client) Cancel(context.Context, string) error { return di.ErrMissing }

// CloseConn does nothing.
func (*Client) CloseConn() error { return nil }
