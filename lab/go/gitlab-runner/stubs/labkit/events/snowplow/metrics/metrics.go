// Package metrics would count billing events.
package metrics

// CollectorOption changes what is counted.
type CollectorOption func()

// WithCollectorNamespace does nothing.
func WithCollectorNamespace(string) CollectorOption { return func() {} }

// WithCollectorBatchDeliveryDurationBuckets does nothing.
func WithCollectorBatchDeliveryDurationBuckets([]float64) CollectorOption { return func() {} }
