//go:build linux

package emulate_test

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// loopbackOnly puts the native side into a new network namespace whose lo is up,
// as a jail's is. Who may not have one compares with the host's own lo: scripts
// look at nothing else, and change nothing.
func loopbackOnly(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	old, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setns(int(old.Fd()), unix.CLONE_NEWNET); err == nil || os.Geteuid() != 0 {
			runtime.UnlockOSThread()
		}
		_ = old.Close()
	})
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Log("on the host's network: ", err)
		if text, _ := os.ReadFile("/proc/net/if_inet6"); !strings.Contains(string(text), " lo\n") {
			t.Skip("the host has no ::1, and gives no other network")
		}
		return
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
}

// ifreq is struct ifreq of a device, with a union that is not empty.
func ifreq(name string, union ...byte) []byte {
	p := make([]byte, 40)
	for i := range p[16:] {
		p[16+i] = byte(i + 1)
	}
	copy(p, name)
	copy(p[16:], union)
	return p
}

var ifRequests = []int{unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFMTU, unix.SIOCGIFMETRIC,
	unix.SIOCGIFHWADDR, unix.SIOCGIFTXQLEN, unix.SIOCGIFMAP, unix.SIOCGIFSLAVE, unix.SIOCGIFMEM, unix.SIOCGIFADDR,
	unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR, unix.SIOCETHTOOL}

// ifIoctls asks a socket about devices.
func ifIoctls(s *Script, fd FD) {
	note := func(request int, p []byte) {
		_, errno := s.Quiet("ioctl", fd, request, p)
		s.Logf("%#x: %v %q", request, errno, p)
	}
	for _, r := range ifRequests {
		for _, name := range []string{"lo", "", "nosuch", "lo:1", "lo:", "nameoftoomanybytes"} {
			if r != unix.SIOCGIFNAME { // 2 is another device of the host's
				note(r, ifreq(name[:min(len(name), 16)], 2, 0, 0, 0, 127, 0, 0, 1))
			}
		}
		note(r, ifreq("lo", 1, 0, 0, 0, 0, 0, 0, 0))
		note(r, ifreq("lo", 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
		s.Call("ioctl", fd, r, Edge(ifreq("lo")[:39]))
	}
	s.Call("ioctl", fd, unix.SIOCGIFCONF, Bad)
	s.Call("ioctl", fd, 0x5460, ifreq("lo"))
	s.Call("ioctl", fd, 0x89aa, ifreq("lo"))
	var owner int32
	s.Quiet("ioctl", fd, 0x8903, &owner)
	s.Logf("owner %d", owner)
	s.Call("ioctl", fd, 0x8901, []byte{0, 0, 0, 0x80})
	s.Call("ioctl", fd, 0x8902, []byte{0xff, 0xff, 0xff, 0x7f})
	_, errno := s.Quiet("ioctl", fd, 0x8904, Bad)
	s.Logf("owner %v", errno)
}

func TestNetdevice(t *testing.T) {
	loopbackOnly(t)
	Twin(t, func(s *Script) {
		fd := s.Open("socket", unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		ifIoctls(s, fd)
		for _, room := range []int32{0, 39, 40, -1, 8192} {
			conf := &ifconf{room: room, buf: make([]byte, 8192)}
			_, errno := s.Quiet("ioctl", fd, unix.SIOCGIFCONF, conf)
			s.Logf("SIOCGIFCONF %d: %v %d %q", room, errno, min(conf.room, 40), conf.buf[:40]) // lo is the first
		}
	})
}

// TestNetdeviceInet: sockets of AF_INET know addresses too.
func TestNetdeviceInet(t *testing.T) {
	loopbackOnly(t)
	Twin(t, func(s *Script) { ifIoctls(s, s.Open("socket", unix.AF_INET, unix.SOCK_DGRAM, 0)) })
}

// TestNetdeviceChange: nobody changes a device, whoever he is.
func TestNetdeviceChange(t *testing.T) {
	g := NewGuest(t)
	fd := g.Must("socket", unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	for _, r := range []int{unix.SIOCSIFFLAGS, unix.SIOCSIFMTU, unix.SIOCSIFNAME, unix.SIOCSIFHWADDR, unix.SIOCADDRT} {
		if _, errno := g.Call("ioctl", fd, r, ifreq("lo")); errno != unix.EPERM {
			t.Errorf("%#x gives %v", r, errno)
		}
	}
}

// ifconf is struct ifconf.
type ifconf struct {
	room int32
	buf  []byte
}

func (c *ifconf) Marshal(put func([]byte) (uint64, func() []byte)) (uint64, func()) {
	addr, content := put(c.buf)
	p := append(binary.LittleEndian.AppendUint32(nil, uint32(c.room)), 0, 0, 0, 0)
	at, get := put(binary.LittleEndian.AppendUint64(p, addr))
	return at, func() {
		c.room = int32(binary.LittleEndian.Uint32(get()))
		copy(c.buf, content())
	}
}
