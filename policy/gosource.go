package policy

import (
	"cmp"
	"fmt"
	"go/format"
	"reflect"
	"strings"
)

// GoSource is the policy as a Go file of package pkg, in which the function name
// returns it.
func (p Policy) GoSource(pkg, name string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\nimport (\n", pkg)
	if !p.Time.Start.IsZero() {
		b.WriteString("\t\"time\"\n\n")
	}
	fmt.Fprintf(&b, "\t\"oubliette/policy\"\n)\n\n// %s is the policy that was %s.\nfunc %[1]s() policy.Policy {\n\treturn ", name,
		cmp.Or(runs(p.Learned()), "made"))
	goValue(&b, reflect.ValueOf(p))
	b.WriteString("\n}\n")
	return format.Source([]byte(b.String()))
}

func runs(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("learned from %d %s", n, plural(n, "run"))
}

// goValue writes a value as Go does, without fields that are zero.
func goValue(b *strings.Builder, v reflect.Value) {
	switch {
	case v.Type().PkgPath() == "time" && v.Kind() == reflect.Struct:
		fmt.Fprintf(b, "time.Unix(%d, %d)", v.MethodByName("Unix").Call(nil)[0].Int(), v.MethodByName("Nanosecond").Call(nil)[0].Int())
	case v.Kind() == reflect.Struct:
		b.WriteString(v.Type().String() + "{")
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				b.WriteString("\n" + v.Type().Field(i).Name + ": ")
				goValue(b, f)
				b.WriteByte(',')
			}
		}
		b.WriteString("}")
	case v.Kind() == reflect.Slice:
		b.WriteString(v.Type().String() + "{")
		for i := range v.Len() {
			if v.Index(i).Kind() == reflect.Struct {
				b.WriteByte('\n')
			}
			goValue(b, v.Index(i))
			b.WriteByte(',')
		}
		b.WriteString("}")
	case v.Kind() == reflect.Pointer:
		fmt.Fprintf(b, "new(%s(%d))", v.Type().Elem(), v.Elem().Uint())
	case v.Kind() == reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	case v.Kind() == reflect.Bool:
		fmt.Fprint(b, v.Bool())
	default: // numbers and durations
		fmt.Fprintf(b, "%d", v.Interface())
	}
}
