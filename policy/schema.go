package policy

import (
	_ "embed"
	"slices"
)

// The schema is generated from the types of this package by
// go test ./policy -run TestSchema -update.
//
//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (2020-12) of what [Parse] takes, for editors and
// checkers. Parse itself is stricter: it also finds what contradicts itself.
func Schema() []byte { return slices.Clone(schema) }
