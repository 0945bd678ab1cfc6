// Package getter stands in for the one that downloads Terraform modules, with the cloud SDKs of all places that those
// may be in. The schema generator is linked with a converter of Terraform programs, which nothing here ever calls.
package getter

import "errors"

var errNone = errors.New("Terraform modules are not downloaded here")

// Detector finds out what a module's source means.
type Detector interface{}

// Detectors is empty: no source means anything here.
var Detectors []Detector

// FolderStorage is a directory that modules are kept in.
type FolderStorage struct {
	StorageDir string
}

// Get downloads nothing.
func (*FolderStorage) Get(key, source string, update bool) error { return errNone }

// Dir finds nothing.
func (*FolderStorage) Dir(key string) (string, bool, error) { return "", false, errNone }

// Get downloads nothing.
func Get(target, source string) error { return errNone }

// Detect knows no source.
func Detect(source, directory string, detectors []Detector) (string, error) { return "", errNone }

// SourceDirSubdir finds no part of a source below it.
func SourceDirSubdir(source string) (string, string) { return source, "" }

// SubdirGlob finds no directory.
func SubdirGlob(directory, below string) (string, error) { return "", errNone }
