package recording_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oubliette/internal/recording"
)

// file is a recording in memory.
type file struct{ b []byte }

func (f *file) Write(p []byte) (int, error) {
	f.b = append(f.b, p...)
	return len(p), nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(f.b).ReadAt(p, off) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var run = recording.Run{Format: 1, Path: "/bin/\xff\"\\\n", Args: []recording.Text{"a", "\x00\xfe"}, Env: []recording.Text{}, Policy: json.RawMessage("{}")}

// write makes a recording of some files and events.
func write(t testing.TB, contents []string, events []recording.Event) *file {
	t.Helper()
	f := new(file)
	w, err := recording.NewWriter(f, run)
	check(t, err)
	for i, c := range contents {
		name, kept, err := w.Store("/some/\xff name", strings.NewReader(c))
		check(t, err)
		got, err := io.ReadAll(kept)
		if check(t, err); string(got) != c {
			t.Errorf("file %d (%q) is %.50q while it is written", i, name, got)
		}
		for j, e := range events {
			if j%len(contents) == i {
				check(t, w.Event(e))
			}
		}
	}
	check(t, w.Close([]string{"the", "trees"}))
	return f
}

// TestWritten: what is written is read again.
func TestWritten(t *testing.T) {
	random := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	events := []recording.Event{{What: "a"}, {At: 1, What: "b", Data: random}, {At: 1, What: "c", Data: []byte("text\n\u2028<"), Errno: 2, N: -1},
		{At: 1 << 60, Clock: 5, What: "d", From: netip.MustParseAddrPort("[::1]:5"), Addrs: []netip.Addr{netip.MustParseAddr("1.2.3.4")}}}
	contents := []string{string(random)}
	f := write(t, contents, events)
	r, err := recording.NewReader(f, int64(len(f.b)))
	check(t, err)
	if d := cmp.Diff(r.Run.Policy, run.Policy); d != "" {
		t.Error(d)
	}
	r.Run.Policy = run.Policy
	if d := cmp.Diff(run, r.Run); d != "" {
		t.Error(d)
	}
	for _, want := range events {
		got, err := r.Next()
		check(t, err)
		if !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: its data is other", want.What)
		}
		got.Data = want.Data
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	kept, err := io.ReadAll(r.File("files/1/some/\xff name"))
	if check(t, err); !bytes.Equal(kept, random) {
		t.Error("the file is another")
	}
	var trees []string
	check(t, r.Trees(&trees))
	if d := cmp.Diff([]string{"the", "trees"}, trees); d != "" {
		t.Error(d)
	}
}

// TestCut: no part of a recording from its start is one.
func TestCut(t *testing.T) {
	f := write(t, []string{"content"}, []recording.Event{{What: "a"}})
	for n := range f.b {
		_, err := recording.NewReader(&file{f.b[:n]}, int64(n))
		if !errors.Is(err, recording.ErrCut) && (n > 40 || !errors.Is(err, recording.ErrForeign)) {
			t.Fatalf("of %d bytes the first %d: %v", len(f.b), n, err)
		}
	}
}

// TestOverlap: members that lie on one another, which would be read again and again, are
// refused.
func TestOverlap(t *testing.T) {
	f := write(t, []string{strings.Repeat("content", 1000)}, nil)
	le := binary.LittleEndian
	end := len(f.b) - 22 // of central directory record
	dir := f.b[le.Uint32(f.b[end+16:]):end]
	last := bytes.LastIndex(dir, []byte("PK\x01\x02"))
	var more []byte
	for i := range 100 {
		at := bytes.Index(dir, []byte("files/1/"))
		more = append(more, dir[at-46:at]...)
		more = append(more, strings.Replace(string(dir[at:at+int(le.Uint16(dir[at-46+28:]))]), "/some", fmt.Sprintf("/%04d", i), 1)...)
	}
	b := slices.Concat(f.b[:end-len(dir)], dir[:last], more, dir[last:], f.b[end:])
	end = len(b) - 22
	le.PutUint16(b[end+8:], le.Uint16(b[end+8:])+100)
	le.PutUint16(b[end+10:], le.Uint16(b[end+10:])+100)
	le.PutUint32(b[end+12:], le.Uint32(b[end+12:])+uint32(len(more)))
	if _, err := recording.NewReader(&file{b}, int64(len(b))); !errors.Is(err, recording.ErrForeign) || !strings.Contains(err.Error(), "overlap") {
		t.Error(err)
	}
}

// FuzzReader: whatever a file holds is read, or is an error.
func FuzzReader(f *testing.F) {
	whole := write(f, []string{"content", ""}, []recording.Event{{What: "a", Data: []byte("x")}, {At: 3, What: "b"}})
	f.Add(whole.b)
	f.Add(whole.b[:len(whole.b)-20])
	f.Add([]byte("PK\x03\x04run.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := recording.NewReader(&file{b}, int64(len(b)))
		if err != nil {
			return
		}
		var events []recording.Event
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			events = append(events, *e)
		}
		// What was read can be written and read again.
		again := write(t, []string{""}, events)
		r, err = recording.NewReader(again, int64(len(again.b)))
		check(t, err)
		for _, want := range events {
			got, err := r.Next()
			check(t, err)
			if got.Data, want.Data = append([]byte{}, got.Data...), append([]byte{}, want.Data...); !reflect.DeepEqual(*got, want) {
				t.Errorf("%+v, again %+v", want, *got)
			}
		}
	})
}
