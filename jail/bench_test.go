//go:build linux && amd64

package jail_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"oubliette/jail"
	"oubliette/policy"
)

func init() { guests["bench"] = benchGuest }

// loops are what the benchmark guest can do n times.
var loops = map[string]func(n int){
	"getppid": func(n int) {
		for range n {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		}
	},
	"stat": func(n int) {
		path, _ := unix.BytePtrFromString("/usr/bin/env")
		var st unix.Stat_t
		for range n {
			_, _, _ = unix.RawSyscall(unix.SYS_STAT, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&st)), 0)
		}
	},
	"open-fstat-read-close": func(n int) {
		buf := make([]byte, 4096)
		var st unix.Stat_t
		for range n {
			fd, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
			check(err)
			check(unix.Fstat(fd, &st))
			_, err = unix.Read(fd, buf)
			check(err)
			check(unix.Close(fd))
		}
	},
	"pread-4KiB": func(n int) {
		fd := scratch(1 << 20)
		buf := make([]byte, 4096)
		for range n {
			_, err := unix.Pread(fd, buf, 0)
			check(err)
		}
	},
	"read-64KiB": func(n int) {
		fd := scratch(16 << 20)
		buf := make([]byte, 64<<10)
		for range n {
			m, err := unix.Read(fd, buf)
			check(err)
			if m == 0 {
				_, err = unix.Seek(fd, 0, unix.SEEK_SET)
				check(err)
			}
		}
	},
	"write-64KiB": func(n int) {
		fd := scratch(0)
		buf := make([]byte, 64<<10)
		for i := range n {
			if i%256 == 0 {
				_, err := unix.Seek(fd, 0, unix.SEEK_SET)
				check(err)
			}
			_, err := unix.Write(fd, buf)
			check(err)
		}
	},
	"mmap-touch-munmap": func(n int) {
		for range n {
			p, err := unix.Mmap(-1, 0, 16384, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			check(err)
			p[0], p[4096], p[8192], p[12288] = 1, 1, 1, 1
			check(unix.Munmap(p))
		}
	},
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// scratch is an open file of size bytes in /tmp.
func scratch(size int64) int {
	f, err := os.CreateTemp("/tmp", "bench")
	check(err)
	check(os.Remove(f.Name()))
	buf := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(buf)) {
		_, err := f.Write(buf)
		check(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	check(err)
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	check(err)
	return fd
}

// benchGuest runs a loop and prints nanoseconds for each turn.
func benchGuest(args []string) {
	runtime.LockOSThread()
	n, err := strconv.Atoi(args[1])
	check(err)
	loop := loops[args[0]]
	loop(min(n, 100)) // warm up
	start := time.Now()
	loop(n)
	fmt.Print(float64(time.Since(start).Nanoseconds()) / float64(n))
}

// report adds native and jailed times and their ratio to b's figures.
func report(b *testing.B, native, jailed float64) {
	b.ReportMetric(native, "native-ns/op")
	b.ReportMetric(jailed, "jailed-ns/op")
	b.ReportMetric(jailed/native, "ratio")
	b.ReportMetric(0, "ns/op")
}

func nanoseconds(b *testing.B, r result) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(r.Stdout), 64)
	if err != nil {
		b.Fatalf("guest: %+v", r)
	}
	return v
}

// BenchmarkCall measures single calls: ns natively, ns in a jail, and the ratio.
func BenchmarkCall(b *testing.B) {
	for name := range loops {
		b.Run(name, func(b *testing.B) {
			n := strconv.Itoa(max(b.N, 1000))
			report(b, nanoseconds(b, native(b, guestCommand("bench", name, n))),
				nanoseconds(b, jailed(b, &jail.Jail{}, guestCommand("bench", name, n), policy.Overlay())))
		})
	}
}

// BenchmarkProcess measures what processes and threads do to each other.
func BenchmarkProcess(b *testing.B) {
	program := guestProgram(b, "bench")
	for _, name := range []string{"fork", "fork-exec", "vfork-exec", "pipe", "futex", "four-threads", "pthread"} {
		b.Run(name, func(b *testing.B) {
			n := strconv.Itoa(max(b.N, 100))
			report(b, nanoseconds(b, native(b, exec.Command(program, name, n))),
				nanoseconds(b, jailed(b, &jail.Jail{}, exec.Command(program, name, n), policy.Overlay())))
		})
	}
}

// BenchmarkStop measures one stop beside that of a bare tracer in C, which is
// what the kernel's part of it costs.
func BenchmarkStop(b *testing.B) {
	need(b, "gcc")
	tracer := filepath.Join(b.TempDir(), "tracer")
	if out, err := exec.Command("gcc", "-O2", "-o", tracer, "testdata/tracer.c").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	n := strconv.Itoa(max(b.N, 1000))
	bare := nanoseconds(b, native(b, exec.Command(tracer, n)))
	in := nanoseconds(b, jailed(b, &jail.Jail{}, guestCommand("bench", "getppid", n), policy.Overlay()))
	b.ReportMetric(bare, "C-tracer-ns/op")
	b.ReportMetric(in, "jailed-ns/op")
	b.ReportMetric(in/bare, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSpawn measures whole runs, from Spawn to the end of Wait.
func BenchmarkSpawn(b *testing.B) {
	warm, err := jail.KeepWarm()
	if err != nil {
		b.Fatal(err)
	}
	defer warm.Close()
	dir := b.TempDir()
	static := filepath.Join(dir, "true")
	if err := os.WriteFile(static, tinyELF(), 0o755); err != nil {
		b.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"static":  {static},
		"true":    {"/bin/true"},
		"python3": {"/usr/bin/python3", "-c", "pass"},
		"node":    {"/usr/bin/node", "-e", "0"},
		"sh-200":  {"/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"},
	} {
		b.Run(name, func(b *testing.B) {
			if _, err := os.Stat(argv[0]); err != nil {
				skip(b, err.Error())
			}
			run := func(f func(*exec.Cmd)) float64 {
				start := time.Now()
				for range b.N {
					f(exec.Command(argv[0], argv[1:]...))
				}
				return float64(time.Since(start).Nanoseconds()) / float64(b.N)
			}
			p := policy.Overlay()
			in := func(cmd *exec.Cmd) {
				proc, err := jail.Spawn(cmd, p)
				if err == nil {
					err = proc.Wait()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			in(exec.Command(argv[0], argv[1:]...))
			report(b, run(func(cmd *exec.Cmd) {
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}), run(in))
		})
	}
}

// tinyELF is a static program that exits with status 0.
func tinyELF() []byte {
	code := "\x31\xff" + // xor edi, edi
		"\xb8\xe7\x00\x00\x00" + // mov eax, 231 (exit_group)
		"\x0f\x05" // syscall
	return elfExec(code)
}

// BenchmarkMemory measures what a jail that waits costs this process, in bytes:
// its resident memory and Go's share of it.
func BenchmarkMemory(b *testing.B) {
	resident := func() float64 {
		runtime.GC()
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			b.Fatal(err)
		}
		pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
		return float64(pages * os.Getpagesize())
	}
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	const jails = 100
	for name, p := range map[string]policy.Policy{"tool": policy.Tool(), "overlay": policy.Overlay()} {
		b.Run(name, func(b *testing.B) {
			before, usedBefore := resident(), inUse()
			var running []*jail.Process
			for range jails {
				cmd := exec.Command("/bin/cat")
				if _, err := cmd.StdinPipe(); err != nil {
					b.Fatal(err)
				}
				proc, err := jail.Spawn(cmd, p)
				if err != nil {
					b.Fatal(err)
				}
				running = append(running, proc)
			}
			time.Sleep(200 * time.Millisecond) // all read by now
			b.ReportMetric((resident()-before)/jails, "resident-B/jail")
			b.ReportMetric((inUse()-usedBefore)/jails, "go-B/jail")
			b.ReportMetric(0, "ns/op")
			for _, proc := range running {
				_ = proc.Kill()
				_ = proc.Wait()
			}
		})
	}
}
