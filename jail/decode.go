//go:build linux && amd64

package jail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"oubliette/emulate"
)

// What is shown of strings, in bytes. Paths are shown whole.
const (
	maxShownString = 96
	maxShownBytes  = 32 // as strace
)

// text is the call that t has made, strace-like, after the kinds of its row in the
// table. Strings that the handler has read are shown as it saw them; other memory
// is read here, once, and another thread may have changed it. An err: what the
// kernel writes is not there.
func (t *thread) text(result uint64, err error) string {
	c := &t.call
	name := t.w.callName(c.Nr)
	if uint(c.Nr) >= maxCalls {
		return name + "()"
	}
	kinds := strings.Fields(t.w.calls.rows[c.Nr].args)
	var args []string
	for i, kind := range kinds[:min(len(kinds), len(c.Args))] {
		if kind == "mode" && i > 0 && kinds[i-1] == "flags:open" && c.Args[i-1]&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
			break // not looked at
		}
		kind, out := strings.CutPrefix(kind, "out:")
		size, sized := uint64(0), false
		if i+1 < len(kinds) && (kinds[i+1] == "size" || kinds[i+1] == "uint" || kinds[i+1] == "int") {
			size, sized = c.Args[i+1], true
		}
		if out {
			size, sized = min(size, result), sized && err == nil
		}
		if v := c.Args[i]; sized && v != 0 && (kind == "buf" || kind == "sockaddr" || out && kind == "str") {
			args = append(args, t.formatBytes(kind, v, size))
		} else {
			args = append(args, t.formatArg(kind, v, out))
		}
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

func formatResult(result uint64, err error) string {
	switch {
	case err == emulate.ErrPass:
		return "? (native)"
	case err == emulate.ErrGone:
		return "? (gone)"
	case err != nil:
		errno, _ := emulate.Errno(err)
		if errno >= emulate.ERESTARTSYS && errno <= emulate.ERESTART_RESTARTBLOCK {
			return "? ERESTART"
		}
		return "-1 " + unix.ErrnoName(errno) + " (" + errno.Error() + ")"
	case result > 1<<32:
		return fmt.Sprintf("%#x", result)
	}
	return strconv.FormatUint(result, 10)
}

// formatArg prints one argument.
func (t *thread) formatArg(kind string, v uint64, out bool) string {
	kind, set, _ := strings.Cut(kind, ":")
	if set != "" {
		return formatFlags(set, uint32(v))
	}
	switch kind {
	case "fd", "dirfd", "int", "pid":
		if kind == "dirfd" && int32(v) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return strconv.Itoa(int(int32(v)))
	case "sig":
		if name := unix.SignalName(unix.Signal(int32(v))); name != "" {
			return name
		}
		return strconv.Itoa(int(int32(v)))
	case "path", "str":
		if s, ok := t.call.Seen[v]; ok && v != 0 {
			return quote(s, unix.PathMax)
		} else if v != 0 && !out {
			return t.formatString(v, map[bool]int{true: unix.PathMax, false: maxShownString}[kind == "path"])
		}
	case "mode":
		return fmt.Sprintf("%#o", uint32(v))
	case "size", "uint":
		return strconv.FormatUint(v, 10)
	case "op":
		if v < 1<<16 {
			return strconv.FormatUint(v, 10)
		}
	case "off", "long":
		return strconv.FormatInt(int64(v), 10)
	case "flags":
		if v == 0 {
			return "0"
		}
	}
	if v == 0 {
		return "NULL"
	}
	return fmt.Sprintf("%#x", v)
}

// formatString shows at most limit bytes of a C string.
func (t *thread) formatString(addr uint64, limit int) string {
	p := make([]byte, limit)
	n, err := t.ReadMemory(p, addr)
	if err != nil {
		return fmt.Sprintf("%#x", addr)
	}
	if i := bytes.IndexByte(p[:n], 0); i >= 0 {
		return quote(string(p[:i]), limit)
	}
	return quote(string(p[:n]), limit) + "..."
}

// formatBytes shows the beginning of a buffer of n bytes, or a socket address.
func (t *thread) formatBytes(kind string, addr, n uint64) string {
	shown := uint64(maxShownBytes)
	if kind != "buf" {
		shown = unix.SizeofSockaddrAny
	}
	p := make([]byte, min(n, shown+1))
	if len(p) > 0 {
		got, err := t.ReadMemory(p, addr)
		if err != nil || got < len(p) {
			return fmt.Sprintf("%#x", addr)
		}
	}
	switch kind {
	case "sockaddr":
		return formatSockaddr(p)
	case "str":
		p = bytes.TrimRight(p, "\x00")
	}
	return quote(string(p), int(shown))
}

// formatSockaddr is what is in a struct sockaddr.
func formatSockaddr(p []byte) string {
	family := uint16(0)
	if len(p) >= 2 {
		family = binary.LittleEndian.Uint16(p)
	}
	inet := func(start, size int) string {
		if len(p) < start+size {
			return "?"
		}
		ip, _ := netip.AddrFromSlice(p[start : start+size])
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(p[2:])).String()
	}
	text := "{" + formatFlags("family", uint32(family))
	switch family {
	case unix.AF_UNIX:
		if path := string(p[2:]); strings.HasPrefix(path, "\x00") { // abstract
			text += " @" + quote(path[1:], unix.PathMax)
		} else {
			path, _, _ := strings.Cut(path, "\x00")
			text += " " + quote(path, unix.PathMax)
		}
	case unix.AF_INET:
		text += " " + inet(4, 4)
	case unix.AF_INET6:
		text += " " + inet(8, 16)
	}
	return text + "}"
}

// quote is s in C's quotes, the first limit bytes of it.
func quote(s string, limit int) string {
	b := []byte{'"'}
	for i := range min(len(s), limit) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c < ' ' || c > '~':
			b = fmt.Appendf(b, `\%03o`, c)
		default:
			b = append(b, c)
		}
	}
	if b = append(b, '"'); len(s) > limit {
		b = append(b, "..."...)
	}
	return string(b)
}
