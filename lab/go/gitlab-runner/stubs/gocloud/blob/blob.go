// Package blob would open buckets with a job's own credentials. Caches in S3 need that for `UploadRoleARN` alone: the
// runner signs the addresses of all others.
package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

var errMissing = errors.New(
	"gitlab-runner built from Go modules opens no bucket with a job's own credentials (UploadRoleARN, Azure): " +
		"let the cache be reached by signed addresses",
)

// URLMux opens buckets by their URLs.
type URLMux struct{}

// DefaultURLMux knows no buckets.
func DefaultURLMux() *URLMux { return &URLMux{} }

// OpenBucket refuses.
func (*URLMux) OpenBucket(context.Context, string) (*Bucket, error) { return nil, errMissing }

// Bucket would hold objects.
type Bucket struct{}

// WriterOptions says how an object is written.
type WriterOptions struct {
	Metadata       map[string]string
	BufferSize     int
	MaxConcurrency int
}

// ReaderOptions says how an object is read.
type ReaderOptions struct{}

// Attributes is what is known of an object.
type Attributes struct {
	ModTime  time.Time
	Size     int64
	ETag     string
	Metadata map[string]string
}

// Reader would read an object.
type Reader struct{ io.ReadCloser }

// NewWriter refuses.
func (*Bucket) NewWriter(context.Context, string, *WriterOptions) (io.WriteCloser, error) {
	return nil, errMissing
}

// NewReader refuses.
func (*Bucket) NewReader(context.Context, string, *ReaderOptions) (*Reader, error) {
	return nil, errMissing
}

// NewRangeReader refuses.
func (*Bucket) NewRangeReader(context.Context, string, int64, int64, *ReaderOptions) (*Reader, error) {
	return nil, errMissing
}

// Attributes refuses.
func (*Bucket) Attributes(context.Context, string) (*Attributes, error) { return nil, errMissing }

// Close does nothing.
func (*Bucket) Close() error { return nil }
