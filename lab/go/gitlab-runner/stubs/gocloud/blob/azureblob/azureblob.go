// Package azureblob would open containers of Azure.
package azureblob
