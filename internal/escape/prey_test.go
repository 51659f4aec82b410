//go:build linux && amd64

package escape_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// prey is what of the host a hostile guest is told of. Every bit of it is open to
// whoever has the user id that guests have on the host: only the jail is in the way.
type prey struct {
	t       *testing.T
	program string
	patient bool   // with what others do to the host
	uid     int    // whose it is
	file    string // with the secret
	base    string // of what follows
	dir     string // which no guest may reach
	out     string // and another, which nobody looks at
	given   string // which it may read
	share   string // and write
	secret  string
	bytes   []byte // the secret in this process's memory
	canary  []byte // and what nobody writes
	key     string // of /proc/keys
	env     []string
	victim  *exec.Cmd
	ids     map[string]uintptr // of System V objects
	shm     []byte
	mq, ino int
	attr    [8]int64 // of the mq; here, for a variable on a stack may move before the call
	fifo    *os.File
	tcp     *net.TCPListener
	unix    []*net.UnixListener
	packets []interface {
		SetReadDeadline(time.Time) error
		Read([]byte) (int, error)
	}
	signals chan os.Signal
}

// must is the result of a call that a part of the prey needs.
func (h *prey) must(nr uintptr, args ...uintptr) uintptr {
	h.t.Helper()
	a := append(args, make([]uintptr, 6-len(args))...)
	r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		h.t.Fatalf("call %d: %v", nr, errno)
	}
	return r
}

func (h *prey) check(err error) {
	if err != nil {
		h.t.Helper()
		h.t.Fatal(err)
	}
}

// nobody is the user id that guests of root have on the host.
const nobody = 65534

// newPrey is a prey that belongs to a user, or if this is not root, to this one.
func newPrey(t *testing.T, program string, uid int) *prey {
	text := make([]byte, 16)
	_, _ = rand.Read(text)
	base := t.TempDir()
	h := &prey{t: t, program: program, patient: true, uid: os.Geteuid(), base: base, secret: hex.EncodeToString(text), canary: []byte("alive and well")}
	h.dir, h.out, h.given, h.share = base+"/dir", base+"/out", base+"/given", base+"/share"
	for _, dir := range []string{h.dir, h.out, h.given, h.share} {
		h.check(os.Mkdir(dir, 0o777))
	}
	for dir := base; dir != os.TempDir(); dir = filepath.Dir(dir) {
		h.check(os.Chmod(dir, 0o755))
	}
	h.bytes = []byte(h.secret)
	t.Cleanup(func() { _ = os.Chmod(h.dir, 0o700) }) // a guest that got out may have taken that away
	h.file = filepath.Join(h.dir, "name-"+h.secret[:8])
	h.check(os.WriteFile(h.file, h.bytes, 0o600))
	h.check(os.WriteFile(h.out+"/secret", h.bytes, 0o600))
	h.check(os.WriteFile(h.given+"/a", []byte("for all to read"), 0o600))
	h.check(os.WriteFile(h.dir+"/target", []byte("target"), 0o666))
	h.check(os.WriteFile(h.dir+"/"+h.secret, nil, 0o600)) // whoever lists the directory sees it, too
	h.check(unix.Mkfifo(h.dir+"/fifo", 0o666))
	var err error
	h.fifo, err = os.OpenFile(h.dir+"/fifo", os.O_RDWR|unix.O_NONBLOCK, 0)
	h.check(err)
	open, err := os.Open(h.file)
	h.check(err)
	t.Cleanup(func() { _, _ = h.fifo.Close(), open.Close() })
	veiled := slices.Clone(h.bytes)
	for i := range veiled {
		veiled[i] ^= 0x55
	}
	h.set("VEILED", hex.EncodeToString(veiled))
	h.set("FILE", h.file)
	h.set("DIR", h.dir)
	h.set("HOST", os.Getpid())
	h.set("PARENT", os.Getppid())
	h.set("HOSTFD", open.Fd())
	h.set("MEMADDR", addr(h.bytes))
	h.ipc()
	h.listen()
	h.belongs(uid)
	h.startVictim(open)
	h.signals = make(chan os.Signal, 64)
	for sig := unix.Signal(1); sig < 65; sig++ {
		if sig != unix.SIGURG && sig != unix.SIGCHLD && sig != unix.SIGKILL && sig != unix.SIGSTOP { // Go's own and children's
			signal.Notify(h.signals, sig)
		}
	}
	t.Cleanup(func() { signal.Stop(h.signals) })
	for name, mode := range map[string]os.FileMode{h.dir: 0o777, h.share: 0o777, h.given + "/a": 0o666} {
		h.check(os.Chmod(name, mode))
	}
	h.ino, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	h.check(err)
	t.Cleanup(func() { _ = unix.Close(h.ino) })
	return h
}

// belongs gives all files to a user, if this is root.
func (h *prey) belongs(uid int) {
	if os.Geteuid() == 0 {
		h.uid = uid
		h.check(filepath.Walk(h.base, func(path string, _ os.FileInfo, err error) error {
			return errors.Join(err, os.Chown(path, uid, uid))
		}))
	}
}

// addr is where p lies.
func addr(p []byte) uintptr { return uintptr(unsafe.Pointer(&p[0])) }

func (h *prey) set(name string, value any) { h.env = append(h.env, fmt.Sprint(name, "=", value)) }

// startVictim starts a process that guests could trace and signal, were they on the
// host: it is theirs. The secret is in its environment and its standard input.
func (h *prey) startVictim(secret *os.File) {
	h.victim = exec.Command("/bin/sleep", "1000")
	h.victim.Env = []string{"SECRET=" + h.secret}
	h.victim.Stdin = secret
	h.victim.SysProcAttr = as(h.uid)
	h.check(h.victim.Start())
	h.t.Cleanup(func() {
		_ = h.victim.Process.Kill()
		_ = h.victim.Wait()
	})
	h.set("VICTIM", h.victim.Process.Pid)
	var stat []byte
	for range 1000 { // until it sleeps
		var err error
		stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.victim.Process.Pid))
		h.check(err)
		if strings.Contains(string(stat), "(sleep) S") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.set("ENVADDR", strings.Fields(string(stat))[49])
}

// as makes a process a user's.
func as(uid int) *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// firstKey is where the keys of all preys' objects begin.
const firstKey = 1 << 30

// ipc makes objects of System V and POSIX IPC and a key, all open to everybody.
func (h *prey) ipc() {
	key := uintptr(time.Now().UnixNano()&0x3fffffff | firstKey)
	const flags = unix.IPC_CREAT | unix.IPC_EXCL | 0o666
	h.ids = map[string]uintptr{
		"SHM": h.must(unix.SYS_SHMGET, key, 4096, flags),
		"MSG": h.must(unix.SYS_MSGGET, key, flags),
		"SEM": h.must(unix.SYS_SEMGET, key, 1, flags),
	}
	h.t.Cleanup(func() {
		_ = unix.SysvShmDetach(h.shm)
		h.must(unix.SYS_SHMCTL, h.ids["SHM"], unix.IPC_RMID)
		h.must(unix.SYS_MSGCTL, h.ids["MSG"], unix.IPC_RMID)
		h.must(unix.SYS_SEMCTL, h.ids["SEM"], 0, unix.IPC_RMID)
	})
	for name, id := range h.ids {
		h.set(name+"KEY", key)
		h.set(name+"ID", id)
	}
	var err error
	h.shm, err = unix.SysvShmAttach(int(h.ids["SHM"]), 0, 0)
	h.check(err)
	copy(h.shm, h.secret)
	message := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, h.secret...)
	h.must(unix.SYS_MSGSND, h.ids["MSG"], uintptr(unsafe.Pointer(&message[0])), uintptr(len(h.secret)))
	name := fmt.Sprint("hostile-", key, "\x00")
	queue := unsafe.Pointer(unsafe.StringData(name))
	h.mq = int(h.must(unix.SYS_MQ_OPEN, uintptr(queue), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o666))
	h.t.Cleanup(func() {
		_ = unix.Close(h.mq)
		h.must(unix.SYS_MQ_UNLINK, uintptr(queue))
	})
	h.must(unix.SYS_MQ_TIMEDSEND, uintptr(h.mq), uintptr(unsafe.Pointer(&h.bytes[0])), uintptr(len(h.bytes)))
	h.set("MQ", strings.Trim(name, "\x00"))
	if serial, err := unix.AddKey("user", "hostile-"+h.secret[:8], h.bytes, unix.KEY_SPEC_USER_KEYRING); err == nil { // containers refuse
		_ = unix.KeyctlSetperm(serial, 0x3f3f3f3f)
		h.key = fmt.Sprintf("%08x", serial)
		h.set("KEY", serial)
		h.t.Cleanup(func() { _, _ = unix.KeyctlInt(unix.KEYCTL_INVALIDATE, serial, 0, 0, 0) })
	}
}

// listen opens sockets to which nobody has reason to connect or send.
func (h *prey) listen() {
	var err error
	h.tcp, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	h.check(err)
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	h.check(err)
	name := fmt.Sprint("hostile-", os.Getpid())
	for _, at := range []string{"@" + name, h.dir + "/sock"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
		h.check(err)
		h.unix = append(h.unix, l)
	}
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + name + "d", Net: "unixgram"})
	h.check(err)
	h.packets = append(h.packets, udp, gram, h.fifo)
	h.t.Cleanup(func() {
		_, _, _, _, _ = h.tcp.Close(), udp.Close(), gram.Close(), h.unix[0].Close(), h.unix[1].Close()
	})
	h.set("TCP", h.tcp.Addr().(*net.TCPAddr).Port)
	h.set("UDP", udp.LocalAddr().(*net.UDPAddr).Port)
	h.set("ABSTRACT", name)
	h.set("DATAGRAM", name+"d")
	h.check(os.Chmod(h.dir+"/sock", 0o777))
}

// visits tells who came to the sockets and the FIFO, which signals came, and what
// happened to the directory but for the events in may.
func (h *prey) visits(may uint32) (list []string) {
	soon := func() time.Time { return time.Now().Add(time.Millisecond) }
	for _, l := range append([]interface {
		SetDeadline(time.Time) error
		Accept() (net.Conn, error)
	}{h.tcp}, h.unix[0], h.unix[1]) {
		h.check(l.SetDeadline(soon()))
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			list = append(list, "a connection to "+c.LocalAddr().String())
			_ = c.Close()
		}
	}
	for i, c := range h.packets {
		h.check(c.SetReadDeadline(soon()))
		p := make([]byte, 100)
		for n, err := c.Read(p); err == nil; n, err = c.Read(p) {
			list = append(list, fmt.Sprintf("packet socket %d got %q", i, p[:n]))
		}
	}
	const last = unix.Signal(64) // it comes behind those that are on the way
	h.check(unix.Kill(os.Getpid(), last))
	for late := time.After(time.Second); late != nil; {
		select {
		case sig := <-h.signals:
			if sig == last {
				late = nil
			} else {
				list = append(list, "signal "+sig.String())
			}
		case <-late:
			late = nil
		}
	}
	p := make([]byte, 1<<16)
	n, _ := unix.Read(h.ino, p)
	for n := max(n, 0); n >= unix.SizeofInotifyEvent; {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&p[0]))
		if e.Mask&unix.IN_ALL_EVENTS&^may != 0 {
			list = append(list, fmt.Sprintf("the directory saw events %#x", e.Mask))
		}
		size := unix.SizeofInotifyEvent + int(e.Len)
		p, n = p[size:], n-size
	}
	return list
}

// state is what of the host a call could change, by what it is.
func (h *prey) state() map[string]string {
	s := map[string]string{"memory": string(h.canary)}
	h.tree(s, h.dir)
	h.tree(s, h.given)
	h.held(s)
	for _, pid := range []int{os.Getpid(), os.Getppid(), h.victim.Process.Pid} {
		proc := fmt.Sprintf("/proc/%d/", pid)
		for _, f := range []string{"limits", "oom_score_adj", "personality", "comm"} {
			p, _ := os.ReadFile(proc + f) // of an ordinary user not all may be seen
			s[proc+f] = string(p)
		}
		for _, f := range []string{"cwd", "root", "ns/mnt", "ns/net", "ns/user", "ns/uts"} {
			s[proc+f], _ = os.Readlink(proc + f)
		}
		p, _ := os.ReadFile(proc + "status")
		for _, line := range regexp.MustCompile(`(?m)^(Umask|TracerPid|[UG]id|Groups|Sig[PBIC]\w+|ShdPnd|Cap\w+|NoNew\w+|Seccomp|Cpus_allowed):.*`).FindAllString(string(p), -1) {
			name, value, _ := strings.Cut(line, ":\t")
			if pending, err := strconv.ParseUint(value, 16, 64); err == nil && strings.HasSuffix(name, "Pnd") {
				value = fmt.Sprintf("%016x", pending&^(1<<(unix.SIGURG-1))) // Go programs send themselves that
			} else if name == "SigBlk" && pid != h.victim.Process.Pid {
				value = "" // and block all while they make threads
			}
			s[proc+name] = value
		}
		if pid == h.victim.Process.Pid {
			s[proc+"state"] = regexp.MustCompile(`State:\s+[^RSD\s].*`).FindString(string(p)) // stopped, or dead
		}
		stat, _ := os.ReadFile(proc + "stat")
		if f := strings.Fields(string(stat)); len(f) > 40 {
			s[proc+"scheduling"] = fmt.Sprint(f[4:7], f[17:19], f[39:41]) // groups, nice and policy
		}
		ioprio, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
		s[proc+"ioprio"] = fmt.Sprint(ioprio)
	}
	for _, f := range []string{"self/mountinfo", "swaps", "sys/kernel/hostname", "sys/kernel/domainname", "sys/kernel/ctrl-alt-del", "keys", "modules"} {
		text, _ := os.ReadFile("/proc/" + f)
		for line := range strings.Lines(string(text)) {
			switch f := strings.Fields(line); {
			case strings.Contains(line, "user      hostile") && f[0] != h.key: // another prey's
				continue
			case len(f) > 8 && f[2] != "-" && strings.HasPrefix(f[1], "I--"): // a key: without its use count and life
				line, _, _ = strings.Cut(fmt.Sprint(f[0], f[4:]), ": ") // and how many others it holds
			case len(f) > 5 && strings.HasPrefix(f[len(f)-1], "0x"): // a module
				line = f[0]
			}
			s["/proc/"+f+" "+strings.TrimSpace(line)] = "there"
		}
	}
	h.ipcState(s)
	var tx unix.Timex
	_, err := unix.Adjtimex(&tx) // Modes 0: only asks
	h.check(err)
	s["clock"] = fmt.Sprint(tx.Tick, tx.Tai, (tx.Freq+50<<16)/(100<<16)) // some daemon may steer it finely
	return s
}

// tree tells of all files below a directory.
func (h *prey) tree(s map[string]string, dir string) {
	h.check(filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err != nil {
			s[path] = err.Error()
			return nil
		}
		st.Atim = unix.Timespec{}
		text := ""
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size < 1<<16 { // a program's time tells
			p, _ := os.ReadFile(path) // nothing, if its mode has changed
			text = string(p)
		}
		attrs := make([]byte, 1000)
		n, _ := unix.Llistxattr(path, attrs)
		s[path] = fmt.Sprintf("%+v %q %q", st, text, attrs[:max(n, 0)])
		return nil
	}))
}

// held tells what this process holds.
func (h *prey) held(s map[string]string) {
	for _, dir := range []string{"/proc/self/fd", "."} {
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			if target, err := os.Readlink(dir + "/" + e.Name()); err == nil || dir == "." {
				s[dir+"/"+e.Name()] = target
			}
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		children, _ := os.ReadFile(f)
		s["children"] += string(children)
	}
}

func (h *prey) ipcState(s map[string]string) {
	for _, kind := range []string{"SHM", "MSG", "SEM"} {
		p, _ := os.ReadFile("/proc/sysvipc/" + strings.ToLower(kind))
		for line := range strings.Lines(string(p)) {
			if f := strings.Fields(line); f[1] == fmt.Sprint(h.ids[kind]) {
				s["own "+kind] = line
			} else if key, _ := strconv.Atoi(f[0]); key < firstKey {
				s[kind+" "+f[1]] = "there"
			}
		}
	}
	value, _, _ := unix.Syscall6(unix.SYS_SEMCTL, h.ids["SEM"], 0, 12, 0, 0, 0) // GETVAL
	s["semaphore"], s["shared memory"] = fmt.Sprint(value), string(h.shm)
	h.must(unix.SYS_MQ_GETSETATTR, uintptr(h.mq), 0, uintptr(unsafe.Pointer(&h.attr)))
	s["mq"] = fmt.Sprint(h.attr)
}

func wallOffset() time.Duration {
	var wall, boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return time.Duration(wall.Nano() - boot.Nano())
}

// attacked runs attack and tells, after what that says, what of the host it touched. What other programs
// do to the host meanwhile is given time to pass.
func (h *prey) attacked(may uint32, attack func() []string) []string {
	before, offset := h.state(), wallOffset()
	wd, err := unix.InotifyAddWatch(h.ino, h.dir, unix.IN_ALL_EVENTS)
	h.check(err)
	list := append(attack(), h.visits(may)...)
	_, _ = unix.InotifyRmWatch(h.ino, uint32(wd))
	_, _ = unix.Read(h.ino, make([]byte, 1000)) // IN_IGNORED
	if d := wallOffset() - offset; d.Abs() > 500*time.Millisecond {
		list = append(list, "the clock was set by "+d.String())
	}
	after := h.state()
	for i := 0; h.patient && !maps.Equal(before, after) && i < 20; i++ {
		time.Sleep(50 * time.Millisecond)
		after = h.state()
	}
	if d := cmp.Diff(before, after); d != "" {
		list = append(list, "the host changed: "+d)
	}
	return list
}
