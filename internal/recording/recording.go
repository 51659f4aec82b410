// Package recording is the file of a recorded run: a ZIP archive of stored members,
// so that any unzip shows them and a replay maps what they hold. In this order:
//
//	run.json     the format, the command, its policy and what else of the caller's it got
//	files/N/…    content of a file, as it was when it was first read; its guest path is in the name
//	events/N     what came from outside and what went there, one JSON object a line
//	trees.json   everything else that was asked of the mounted trees
//
// files and events lie between each other. The archive's directory is written last, so
// a file that was cut short has none.
package recording

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// format is the version of all that is in a recording. One reads its own only: what a
// run asks for, and when, changes with the library.
const format = 1

// MaxErrno is the last errno that is one for programs (include/linux/errno.h goes on).
const MaxErrno unix.Errno = 511

// Bounds.
const (
	// maxSize is how large a recording grows, in bytes: a guest has all copied that
	// it reads.
	maxSize = 16 << 30
	// chunk is how many bytes of events are one member, about.
	chunk = 1 << 20
	// maxText is the longest member that is JSON, in bytes: it is read whole, and of one
	// of events a line is.
	maxText = 1 << 30
)

const (
	runName    = "run.json"
	treesName  = "trees.json"
	filesDir   = "files/"
	eventsDir  = "events/"
	fileHeader = "PK\x03\x04" // of a ZIP archive's first member
)

// Errors of [NewReader].
var (
	ErrForeign = errors.New("it is no recording")
	ErrCut     = errors.New("it is not whole: the recorded run did not end, or the file was cut short")
)

// Run is run.json.
type Run struct {
	Format  int             `json:"format"` // set by the Writer
	Path    Text            `json:"path"`
	Args    []Text          `json:"args"`
	Env     []Text          `json:"env"`
	Dir     Text            `json:"dir"`
	Policy  json.RawMessage `json:"policy"`
	Mounts  []Text          `json:"mounts,omitempty"`  // of file systems that were Go values
	Dials   bool            `json:"dials,omitempty"`   // by a function of the caller's
	Listens bool            `json:"listens,omitempty"` // by a function of the caller's
}

// Text is a string that need not be UTF-8, which JSON has to be: it is escaped as in Go.
type Text string

// MarshalText escapes t.
func (t Text) MarshalText() ([]byte, error) {
	q := strconv.Quote(string(t))
	return []byte(q[1 : len(q)-1]), nil
}

// UnmarshalText is the reverse.
func (t *Text) UnmarshalText(p []byte) error {
	s, err := strconv.Unquote(`"` + string(p) + `"`)
	*t = Text(s)
	return err
}

// Event is one thing that came from outside, or that went there.
type Event struct {
	// At is how far the run had come.
	At uint64 `json:"at"`
	// Clock is what its clock shows when what came is there.
	Clock time.Duration `json:"clock,omitempty"`
	// What says which of the run's ways in or out it is.
	What string `json:"what"`
	Data []byte `json:"-"` // see line
	// Errno is an errno, 0 for none.
	Errno unix.Errno     `json:"errno,omitempty"`
	N     int64          `json:"n,omitempty"`
	From  netip.AddrPort `json:"from,omitzero"`
	To    netip.AddrPort `json:"to,omitzero"`
	Addrs []netip.Addr   `json:"addrs,omitempty"`
}

// line is an Event as it is written: its data as text if it is UTF-8.
type line struct {
	Event
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"`
}

// File is where a recording is written, and read while it is.
type File interface {
	io.Writer
	io.ReaderAt
}

// Writer makes a recording. The first error stays.
type Writer struct {
	f      File
	zip    *zip.Writer
	size   int64 // bytes written to f
	err    error
	events bytes.Buffer
	files  int // members so far
	chunks int
}

// NewWriter begins a recording in f, which must be empty.
func NewWriter(f File, run Run) (*Writer, error) {
	if n, err := f.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("the file must be empty, and open for reading and writing (%v)", err)
	}
	run.Format = format
	w := &Writer{f: f}
	w.zip = zip.NewWriter((*counter)(w))
	text, err := json.MarshalIndent(run, "", "  ")
	if err == nil {
		_, err = w.add(runName, bytes.NewReader(text))
	}
	return w, err
}

// counter is a Writer's way to its file.
type counter Writer

func (c *counter) Write(p []byte) (int, error) {
	if c.err == nil && c.size+int64(len(p)) > maxSize {
		c.err = fmt.Errorf("it would be larger than %d GiB", maxSize>>30)
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.f.Write(p)
	c.size += int64(n)
	c.err = err
	return n, err
}

// add makes a member of what r has.
func (w *Writer) add(name string, r io.Reader) (*io.SectionReader, error) {
	var n int64
	m, err := w.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err == nil {
		err = w.zip.Flush()
	}
	start := w.size
	if err == nil {
		n, err = io.Copy(m, r)
	}
	if err == nil {
		err = w.zip.Flush()
	}
	if w.err == nil {
		w.err = err // r's
	}
	return io.NewSectionReader(w.f, start, n), w.err
}

// Store keeps the content of the file at a guest path, under the name that it gives.
func (w *Writer) Store(path string, r io.Reader) (string, *io.SectionReader, error) {
	w.files++
	name := filesDir + strconv.Itoa(w.files) + path
	s, err := w.add(name, r)
	return name, s, err
}

// Event appends an event.
func (w *Writer) Event(e Event) error {
	l := line{Event: e}
	if utf8.Valid(e.Data) {
		l.Text = string(e.Data)
	} else {
		l.Base64 = e.Data
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	w.events.Write(text)
	w.events.WriteByte('\n')
	if w.events.Len() < chunk {
		return w.err
	}
	return w.flush()
}

func (w *Writer) flush() error {
	w.chunks++
	_, err := w.add(eventsDir+strconv.Itoa(w.chunks), &w.events)
	return err
}

// Close ends the recording with what is in trees. f stays open.
func (w *Writer) Close(trees any) error {
	text, err := json.Marshal(trees)
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("%s would be larger than %d bytes", treesName, maxText)
	}
	if err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if _, err := w.add(treesName, bytes.NewReader(text)); err != nil {
		return err
	}
	return w.zip.Close()
}

// Reader is a whole recording.
type Reader struct {
	Run    Run
	files  map[string]*io.SectionReader
	events []*io.SectionReader
	trees  *io.SectionReader
	lines  *bufio.Reader
}

// NewReader reads a recording of size bytes, and all of it once, to find whatever was
// changed in it: [ErrForeign], [ErrCut], zip.ErrChecksum and what else is wrong.
func NewReader(f io.ReaderAt, size int64) (*Reader, error) {
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		start := make([]byte, 64)
		n, _ := f.ReadAt(start, 0)
		if ours := bytes.Contains(start[:n], []byte(runName)); ours && bytes.HasPrefix(start, []byte(fileHeader)) {
			return nil, ErrCut
		}
		return nil, ErrForeign
	}
	if len(z.File) == 0 || z.File[0].Name != runName {
		return nil, ErrForeign
	}
	r, rest := &Reader{files: make(map[string]*io.SectionReader)}, uint64(size)
	for i, m := range z.File {
		if m.UncompressedSize64 > rest {
			return nil, fmt.Errorf("%w: its members overlap", ErrForeign)
		}
		rest -= m.UncompressedSize64
		s, err := section(f, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		switch {
		case i == 0:
			if err := r.readRun(s); err != nil {
				return nil, fmt.Errorf("%s: %w", runName, err)
			}
		case i == len(z.File)-1 && m.Name == treesName:
			r.trees = s
		case m.Name == eventsDir+strconv.Itoa(len(r.events)+1) && s.Size() <= maxText:
			r.events = append(r.events, s)
		case strings.HasPrefix(m.Name, filesDir) && r.files[m.Name] == nil:
			r.files[m.Name] = s
		default:
			return nil, fmt.Errorf("%w: %q is in it", ErrForeign, m.Name)
		}
	}
	if r.trees == nil {
		return nil, fmt.Errorf("%w: it has no %s", ErrForeign, treesName)
	}
	return r, nil
}

// section is a member as it lies in the file, after a look at its checksum.
func section(f io.ReaderAt, m *zip.File) (*io.SectionReader, error) {
	if m.Method != zip.Store || m.CompressedSize64 != m.UncompressedSize64 || m.Flags&1 != 0 {
		return nil, fmt.Errorf("%w: its members are stored as they are", ErrForeign)
	}
	all, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if _, err := io.Copy(io.Discard, all); err != nil {
		return nil, err
	}
	start, err := m.DataOffset()
	return io.NewSectionReader(f, start, int64(m.UncompressedSize64)), err
}

// readRun reads run.json; a newer format may have what this one has not.
func (r *Reader) readRun(s *io.SectionReader) error {
	var f struct{ Format int }
	text, err := readText(s)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return err
	}
	if f.Format != format {
		return fmt.Errorf("its format is %d, and this library reads %d: replay it with the one that recorded it", f.Format, format)
	}
	return strict(text, &r.Run)
}

func readText(s *io.SectionReader) ([]byte, error) {
	if s.Size() > maxText {
		return nil, fmt.Errorf("it is larger than %d bytes", maxText)
	}
	return io.ReadAll(s)
}

// strict is json.Unmarshal that knows no unknown fields.
func strict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind its end")
	}
	return nil
}

// Trees reads trees.json into v.
func (r *Reader) Trees(v any) error {
	text, err := readText(r.trees)
	if err == nil {
		err = strict(text, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", treesName, err)
	}
	return nil
}

// File is the content that Store named, nil if there is none.
func (r *Reader) File(name string) *io.SectionReader { return r.files[name] }

// Next is the next event. io.EOF: that was the last.
func (r *Reader) Next() (*Event, error) {
	for {
		if r.lines == nil {
			if len(r.events) == 0 {
				return nil, io.EOF
			}
			r.lines = bufio.NewReader(r.events[0])
		}
		text, err := r.lines.ReadBytes('\n')
		if err == io.EOF && len(text) == 0 {
			r.events, r.lines = r.events[1:], nil
			continue
		}
		var l line
		if err == nil {
			err = strict(text, &l)
		}
		if err == nil && l.Errno > MaxErrno {
			err = fmt.Errorf("there is no errno %d", l.Errno)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", eventsDir, err)
		}
		if l.Data = l.Base64; l.Text != "" {
			l.Data = []byte(l.Text)
		}
		return &l.Event, nil
	}
}
