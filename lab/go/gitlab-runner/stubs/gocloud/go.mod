// Stands in for a module that would be compiled for what no stack here uses.
module gocloud.dev

go 1.26
