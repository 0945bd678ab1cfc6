// Package s3blob would open buckets of S3 with a role's credentials.
package s3blob
