package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/sysno"
	"oubliette/policy"
)

var update = flag.Bool("update", false, "write schema.json")

type object = map[string]any

// What the types do not say of fields, by type and field.
var (
	required = map[string][]string{"Rule": {"calls", "action"}, "Condition": {"op"}, "Mount": {"guest", "kind"}}
	enums    = map[string][]string{
		"Policy.audit":   {"refusal", "violation", "limit", "exec", "network", "write"},
		"Policy.default": {"kill", "emulate", "deny"},
		"Rule.action":    {"kill", "emulate", "allow", "deny"},
		"Rule.calls":     callNames(),
		"Condition.op":   {"==", "!=", "<", "<=", ">", ">="},
		"Mount.kind":     {"host", "memory", "text", "dev", "proc", "program"},
	}
)

func callNames() []string {
	names := policy.PartNames()
	for nr := range sysno.Max + 1 {
		if name := sysno.Name(nr); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// schemaOf describes t, the type of that field, and puts structs in defs.
func schemaOf(t reflect.Type, field string, comments map[string]string, defs object) object {
	if values := enums[field]; values != nil && t.Kind() == reflect.String {
		return object{"type": "string", "enum": values}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "string", "pattern": "^([0-9]+(\\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$"}
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem(), field, comments, defs)
	case t.Kind() == reflect.Slice:
		return object{"type": []string{"array", "null"}, "items": schemaOf(t.Elem(), field, comments, defs)}
	case t.Kind() == reflect.Struct:
		if defs[t.Name()] == nil {
			props := object{}
			def := object{"type": "object", "additionalProperties": false, "properties": props}
			defs[t.Name()] = def
			if names := required[t.Name()]; names != nil {
				def["required"] = names
			}
			for f := range t.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				p := schemaOf(f.Type, t.Name()+"."+name, comments, defs)
				if c := comments[t.Name()+"."+f.Name]; c != "" {
					p["description"] = c
				}
				props[name] = p
			}
		}
		return object{"$ref": "#/$defs/" + t.Name()}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.String:
		return object{"type": "string"}
	case t.Kind() == reflect.Uint32, t.Kind() == reflect.Uint64:
		return object{"type": "integer", "minimum": 0, "maximum": uint64(1)<<t.Bits() - 1}
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return object{"type": "integer", "minimum": 0}
	}
	panic(fmt.Sprint(field, " is of type ", t, ": say here what that is in JSON"))
}

// fieldComments are the comments of the package's structs, by type and field.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, _ := n.(*ast.TypeSpec)
			if spec == nil {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
					}
				}
			}
			return true
		})
	}
	return comments
}

// TestSchema: schema.json says what the types do.
func TestSchema(t *testing.T) {
	if _, err := os.Stat("policy.go"); err != nil {
		t.Skip("needs the sources, for their comments: ", err)
	}
	defs := object{}
	s := schemaOf(reflect.TypeFor[policy.Policy](), "", fieldComments(t), defs)
	s["$schema"], s["title"], s["$defs"] = "https://json-schema.org/draft/2020-12/schema", "A policy of oubliette", defs
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(string(policy.Schema()), b.String()); d != "" {
		t.Errorf("run go test ./policy -run TestSchema -update:\n%s", d)
	}
}

// fits holds v against the schema s, as far as TestSchema writes such.
func fits(defs, s object, path string, v any) error {
	if ref, ok := s["$ref"].(string); ok {
		s = defs[strings.TrimPrefix(ref, "#/$defs/")].(object)
	}
	is := map[bool]string{}
	switch v := v.(type) {
	case nil:
		is[true] = "null"
	case bool:
		is[true] = "boolean"
	case string:
		is[true] = "string"
		if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, any(v)) {
			return fmt.Errorf("%s: %q is not in the enum", path, v)
		}
	case json.Number:
		is[true] = "integer"
		if strings.HasPrefix(v.String(), "-") {
			return fmt.Errorf("%s: %s is negative", path, v)
		}
	case []any:
		is[true] = "array"
		for i, elem := range v {
			items, _ := s["items"].(object)
			if err := fits(defs, items, fmt.Sprintf("%s[%d]", path, i), elem); err != nil {
				return err
			}
		}
	case object:
		is[true] = "object"
		props, _ := s["properties"].(object)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p, ok := props[name].(object)
			if !ok {
				return fmt.Errorf("%s.%s: no such field", path, name)
			}
			if err := fits(defs, p, path+"."+name, v[name]); err != nil {
				return err
			}
		}
		names, _ := s["required"].([]any)
		for _, name := range names {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s.%s is missing", path, name)
			}
		}
	}
	if types, ok := s["type"].([]any); ok && slices.Contains(types, any(is[true])) || s["type"] == is[true] {
		return nil
	}
	return fmt.Errorf("%s: a %s, want %v", path, is[true], s["type"])
}

// TestFits: the schema takes every preset, and refuses what Parse does for its form.
func TestFits(t *testing.T) {
	decode := func(text []byte) (v object) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := decode(policy.Schema())
	check := func(text []byte) error { return fits(s["$defs"].(object), s, "", decode(text)) }
	for _, p := range []policy.Policy{{}, full, policy.Strict(), policy.Prison(), policy.Tool(), policy.Server(), policy.Overlay()} {
		text, err := p.Format()
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{
		`{"calls": [{"calls": ["opanat"], "action": "deny"}]}`, `{"calls": [{"calls": ["@file"], "action": "deny"}]}`,
		`{"calls": [{"calls": ["open"]}]}`, `{"calls": [{"calls": ["open"], "action": "alow"}]}`, `{"default": "allow"}`,
		`{"limits": {"wall": 5}}`, `{"mount": []}`, `{"limits": {"files": -1}}`, `{"seed": "1"}`,
	} {
		if _, err := policy.Parse([]byte(text)); err == nil {
			t.Errorf("Parse takes %s", text)
		}
		if check([]byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}
