//go:build linux && amd64

package jail

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// flagText names the bits of flags, by what follows the colon of their kind in
// emulate's table: name=value, or name=value/mask where the bits of mask are one
// field (~: all). In order, for what is named is taken away.
var flagText = map[string]string{
	"open": `O_RDONLY=0/3 O_WRONLY=1/3 O_RDWR=2/3 O_CREAT=0x40 O_EXCL=0x80 O_NOCTTY=0x100 O_TRUNC=0x200 O_APPEND=0x400
		O_NONBLOCK=0x800 O_SYNC=0x101000 O_DSYNC=0x1000 O_ASYNC=0x2000 O_DIRECT=0x4000 O_LARGEFILE=0x8000 O_TMPFILE=0x410000
		O_DIRECTORY=0x10000 O_NOFOLLOW=0x20000 O_NOATIME=0x40000 O_CLOEXEC=0x80000 O_PATH=0x200000`,
	"fd": `O_NONBLOCK=0x800 O_DIRECT=0x4000 O_CLOEXEC=0x80000`,
	"at": `AT_SYMLINK_NOFOLLOW=0x100 AT_REMOVEDIR=0x200 AT_SYMLINK_FOLLOW=0x400 AT_NO_AUTOMOUNT=0x800 AT_EMPTY_PATH=0x1000
		AT_STATX_FORCE_SYNC=0x2000 AT_STATX_DONT_SYNC=0x4000`,
	"eaccess": `AT_SYMLINK_NOFOLLOW=0x100 AT_EACCESS=0x200 AT_EMPTY_PATH=0x1000`,
	"access":  `F_OK=0/~ R_OK=4 W_OK=2 X_OK=1`,
	"seek":    `SEEK_SET=0/~ SEEK_CUR=1/~ SEEK_END=2/~ SEEK_DATA=3/~ SEEK_HOLE=4/~`,
	"fcntl": `F_DUPFD=0/~ F_GETFD=1/~ F_SETFD=2/~ F_GETFL=3/~ F_SETFL=4/~ F_GETLK=5/~ F_SETLK=6/~ F_SETLKW=7/~ F_SETOWN=8/~
		F_GETOWN=9/~ F_NOTIFY=1026/~ F_DUPFD_CLOEXEC=1030/~ F_SETPIPE_SZ=1031/~ F_GETPIPE_SZ=1032/~ F_ADD_SEALS=1033/~ F_GET_SEALS=1034/~`,
	"ioctl": `TCGETS=0x5401/~ TCSETS=0x5402/~ TCSETSW=0x5403/~ TCSETSF=0x5404/~ TIOCSCTTY=0x540e/~ TIOCGPGRP=0x540f/~
		TIOCSPGRP=0x5410/~ TIOCGWINSZ=0x5413/~ TIOCSWINSZ=0x5414/~ FIONREAD=0x541b/~ FIONBIO=0x5421/~ TIOCSTI=0x5412/~`,
	"prot": `PROT_NONE=0/~ PROT_READ=1 PROT_WRITE=2 PROT_EXEC=4`,
	"map": `MAP_SHARED=1/0xf MAP_PRIVATE=2/0xf MAP_SHARED_VALIDATE=3/0xf MAP_FIXED=0x10 MAP_ANONYMOUS=0x20 MAP_GROWSDOWN=0x100
		MAP_DENYWRITE=0x800 MAP_LOCKED=0x2000 MAP_NORESERVE=0x4000 MAP_POPULATE=0x8000 MAP_STACK=0x20000 MAP_HUGETLB=0x40000
		MAP_FIXED_NOREPLACE=0x100000`,
	"clone": `CLONE_VM=0x100 CLONE_FS=0x200 CLONE_FILES=0x400 CLONE_SIGHAND=0x800 CLONE_PIDFD=0x1000 CLONE_VFORK=0x4000
		CLONE_PARENT=0x8000 CLONE_THREAD=0x10000 CLONE_NEWNS=0x20000 CLONE_SYSVSEM=0x40000 CLONE_SETTLS=0x80000
		CLONE_PARENT_SETTID=0x100000 CLONE_CHILD_CLEARTID=0x200000 CLONE_CHILD_SETTID=0x1000000 CLONE_NEWUSER=0x10000000 SIGCHLD=17/0xff`,
	"wait":   `WNOHANG=1 WUNTRACED=2 WEXITED=4 WCONTINUED=8 WNOWAIT=0x1000000 __WCLONE=0x80000000 __WALL=0x40000000`,
	"family": `AF_UNSPEC=0/~ AF_UNIX=1/~ AF_INET=2/~ AF_INET6=10/~ AF_NETLINK=16/~ AF_PACKET=17/~`,
	"socket": `SOCK_STREAM=1/0xf SOCK_DGRAM=2/0xf SOCK_RAW=3/0xf SOCK_SEQPACKET=5/0xf SOCK_NONBLOCK=0x800 SOCK_CLOEXEC=0x80000`,
	"accept": `SOCK_NONBLOCK=0x800 SOCK_CLOEXEC=0x80000`,
	"msg": `MSG_OOB=1 MSG_PEEK=2 MSG_DONTROUTE=4 MSG_TRUNC=0x20 MSG_DONTWAIT=0x40 MSG_EOR=0x80 MSG_WAITALL=0x100 MSG_NOSIGNAL=0x4000
		MSG_MORE=0x8000 MSG_CMSG_CLOEXEC=0x40000000`,
	"rename": `RENAME_NOREPLACE=1 RENAME_EXCHANGE=2 RENAME_WHITEOUT=4`,
	"memfd":  `MFD_CLOEXEC=1 MFD_ALLOW_SEALING=2 MFD_NOEXEC_SEAL=8 MFD_EXEC=0x10`,
}

type flagName struct {
	name        string
	value, mask uint32
}

// flagNames is flagText, read once.
var flagNames = sync.OnceValue(func() map[string][]flagName {
	sets := make(map[string][]flagName)
	for set, text := range flagText {
		for _, word := range strings.Fields(text) {
			name, value, _ := strings.Cut(word, "=")
			value, mask, field := strings.Cut(value, "/")
			v, _ := strconv.ParseUint(value, 0, 32)
			m := v
			if mask == "~" {
				m = 1<<32 - 1
			} else if field {
				m, _ = strconv.ParseUint(mask, 0, 32)
			}
			sets[set] = append(sets[set], flagName{name, uint32(v), uint32(m)})
		}
	}
	return sets
})

// formatFlags names what it can of v as strace does: A|B|0x8.
func formatFlags(set string, v uint32) string {
	var words []string
	rest := v
	for _, f := range flagNames()[set] {
		if v&f.mask == f.value && (f.value == 0 || rest&f.value == f.value) {
			words = append(words, f.name)
			rest &^= f.value
		}
	}
	if rest != 0 {
		words = append(words, fmt.Sprintf("%#x", rest))
	} else if words == nil {
		return "0"
	}
	return strings.Join(words, "|")
}
