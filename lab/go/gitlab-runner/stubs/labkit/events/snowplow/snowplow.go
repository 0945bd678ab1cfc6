// Package snowplow would send billing events; this build says at once that it cannot.
package snowplow

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"gitlab.com/gitlab-org/labkit/v2/events/snowplow/metrics"
	"gitlab.com/gitlab-org/labkit/v2/events/snowplow/oidc"
)

var errMissing = errors.New("gitlab-runner built from Go modules sends no billing events (usage_logger snowplow)")

// SendResult is what became of some events.
type SendResult struct {
	EventCount int
	StatusCode int
	Err        error
}

// SendCallback is told of what was sent and what was not.
type SendCallback func(successes []SendResult, failures []SendResult)

// EmitterOption changes an emitter.
type EmitterOption func()

// WithCallback does nothing.
func WithCallback(SendCallback) EmitterOption { return func() {} }

// WithTokenSource does nothing.
func WithTokenSource(*oidc.Source) EmitterOption { return func() {} }

// WithMetricsCollectorOptions does nothing.
func WithMetricsCollectorOptions(...metrics.CollectorOption) EmitterOption { return func() {} }

// Emitter would send events.
type Emitter struct{}

// NewEmitter refuses.
func NewEmitter(string, ...EmitterOption) (*Emitter, error) { return nil, errMissing }

// Collector returns the metrics: none.
func (*Emitter) Collector() prometheus.Collector { return nil }

// Tracker would queue events.
type Tracker struct{}

// NewTracker refuses.
func NewTracker(string, *Emitter) (*Tracker, error) { return nil, errMissing }

// TrackBillingEventWithOptionalInput refuses.
func (*Tracker) TrackBillingEventWithOptionalInput(BillingEventRequiredInput, BillingEventOptionalInput) error {
	return errMissing
}

// Stop does nothing.
func (*Tracker) Stop() {}

// BillingEventRequiredInput is what every event has.
type BillingEventRequiredInput struct {
	Category      string
	EventType     string
	Realm         string
	UnitOfMeasure string
	Quantity      float64
}

// BillingEventOptionalInput is what an event may have.
type BillingEventOptionalInput struct {
	Subject          string
	DeploymentType   string
	Metadata         map[string]any
	InstanceID       string
	UniqueInstanceID string
	ProjectID        int64
	NamespaceID      int64
	RootNamespaceID  int64
	OrganizationID   int64
}
