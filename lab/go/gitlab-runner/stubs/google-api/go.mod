// Stands in for a module that would be compiled for what no stack here uses.
module google.golang.org/api

go 1.26

require golang.org/x/oauth2 v0.36.0
