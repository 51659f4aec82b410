package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Parse reads a policy written as JSON, and holds the writer to it: a field that
// does not exist, is misspelt or comes twice, a value of the wrong type, text
// after the end and whatever [Policy.Validate] finds are errors that say the
// line and column.
func Parse(text []byte) (Policy, error) {
	s := &scanner{Decoder: json.NewDecoder(bytes.NewReader(text)), text: text, at: map[string]int64{}}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil { // is it JSON at all
		return Policy{}, s.locate(err)
	}
	if err := s.value("", reflect.TypeFor[Policy]()); err != nil {
		return Policy{}, s.locate(err)
	}
	var p Policy
	if err := json.Unmarshal(text, &p); err != nil {
		return Policy{}, s.locate(err)
	}
	if err := p.Validate(); err != nil {
		return Policy{}, s.locate(err)
	}
	return p, nil
}

// scanner walks the JSON text beside the Go type it is for, because encoding/json
// neither says where a field is nor insists on its spelling.
type scanner struct {
	*json.Decoder
	text []byte
	at   map[string]int64 // offset of each value by its path
}

// value walks over one value of type t at path.
func (s *scanner) value(path string, t reflect.Type) error {
	s.at[path] = s.start()
	token, err := s.Token()
	if err != nil {
		return err
	}
	if t == reflect.TypeFor[time.Time]() { // its UnmarshalJSON does not say where
		text, _ := token.(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return &Error{Where: path, What: "write a time like 2006-01-02T15:04:05Z"}
		}
	}
	switch token {
	case json.Delim('['):
		for i := 0; s.More(); i++ {
			elem := t
			if t != nil && t.Kind() == reflect.Slice {
				elem = t.Elem()
			}
			if err := s.value(fmt.Sprintf("%s[%d]", path, i), elem); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := s.object(path, t); err != nil {
			return err
		}
	case nil: // Unmarshal would leave out what it is for
		if t != nil && t.Kind() != reflect.Slice {
			return &Error{Where: path, What: "is a JSON null: write " + inJSON(t)}
		}
		return nil
	default:
		return nil
	}
	_, err = s.Token() // the closing bracket
	return err
}

// object walks over the fields of an object up to its closing brace. Where t is
// no struct, Unmarshal finds the mistake.
func (s *scanner) object(path string, t reflect.Type) error {
	fields := map[string]reflect.Type{}
	var names []string
	if t != nil && t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[name] = f.Type
			names = append(names, name)
		}
	}
	for s.More() {
		start := s.start()
		token, err := s.Token()
		if err != nil {
			return err
		}
		name := token.(string)
		where := strings.TrimPrefix(path+"."+name, ".")
		if _, twice := s.at[where]; twice {
			s.at[where] = start
			return &Error{Where: where, What: "is there twice: remove one"}
		}
		if names != nil && !slices.Contains(names, name) {
			s.at[where] = start
			return &Error{Where: where, What: "is no field here; the fields are " + strings.Join(names, ", ")}
		}
		if err := s.value(where, fields[name]); err != nil {
			return err
		}
	}
	return nil
}

// start is the offset at which the next token starts.
func (s *scanner) start() int64 {
	at := s.InputOffset()
	for at < int64(len(s.text)) && strings.IndexByte(" \t\r\n,:", s.text[at]) >= 0 {
		at++
	}
	return at
}

// locate gives err, which may be joined of several, its line and column.
func (s *scanner) locate(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, err := range joined.Unwrap() {
			all = append(all, s.locate(err))
		}
		return errors.Join(all...)
	}
	at := int64(0)
	e := &Error{What: strings.TrimPrefix(err.Error(), "json: ")}
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &e):
		for where := e.Where; ; where = where[:max(0, strings.LastIndexAny(where, ".["))] {
			if offset, ok := s.at[where]; ok || where == "" { // else it is missing, and what should hold it is not
				at = offset
				break
			}
		}
	case errors.As(err, &typ):
		for where, offset := range s.at { // the value that starts last before the offset, its end
			if offset < typ.Offset && offset >= at {
				at, e.Where = offset, where
			}
		}
		e.What = typeMistake(typ)
	case errors.As(err, &syntax):
		at = max(0, syntax.Offset-1)
		e.What += ": JSON has names and texts in double quotes, a comma between two values and none before } or ], no comments, and one value"
	}
	before := s.text[:min(at, int64(len(s.text)))]
	e.Line = 1 + bytes.Count(before, []byte("\n"))
	e.Col = len(before) - bytes.LastIndexByte(before, '\n')
	return e
}

func typeMistake(e *json.UnmarshalTypeError) string {
	return fmt.Sprintf("is a JSON %s: write %s", e.Value, inJSON(e.Type))
}

// inJSON says what a value of t looks like.
func inJSON(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "a text in quotes like \"1m30s\""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return inJSON(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text in quotes"
	case reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list in [ ], each " + inJSON(t.Elem())
	}
	return "an object in { }"
}

// Format is the policy as JSON that a person can read and [Parse] takes back.
func (p Policy) Format() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(p)
	return b.Bytes(), err
}

// limitsJSON is Limits with its times as text.
type limitsJSON struct {
	limits
	CPU  string `json:"cpu,omitempty"`
	Wall string `json:"wall,omitempty"`
}

type limits Limits

// MarshalJSON writes times as Go does ("1m30s").
func (l Limits) MarshalJSON() ([]byte, error) {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return json.Marshal(limitsJSON{limits(l), text(l.CPU), text(l.Wall)})
}

// UnmarshalJSON is the reverse.
func (l *Limits) UnmarshalJSON(b []byte) error {
	var in limitsJSON
	err := json.Unmarshal(b, &in)
	if typ := (*json.UnmarshalTypeError)(nil); errors.As(err, &typ) {
		what := typeMistake(typ)
		if typ.Type.Kind() == reflect.String {
			what += " like \"1m30s\""
		}
		return &Error{Where: strings.TrimSuffix("limits."+strings.TrimPrefix(typ.Field, "limits."), "."), What: what}
	} else if err != nil {
		return err
	}
	*l = Limits(in.limits)
	for _, f := range []struct {
		name, text string
		to         *time.Duration
	}{{"cpu", in.CPU, &l.CPU}, {"wall", in.Wall, &l.Wall}} {
		if f.text == "" {
			continue
		}
		d, err := time.ParseDuration(f.text)
		if err != nil {
			return &Error{Where: "limits." + f.name, What: fmt.Sprintf("%q is no time: write one like \"1m30s\"", f.text)}
		}
		*f.to = d
	}
	return nil
}
