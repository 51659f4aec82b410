package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The guest's user in [Prison] and [Tool]: not root, so that files only root may
// read stay unreadable even when the caller is root; not the caller, so that
// nothing is the guest's own by chance.
const (
	guestID   = 1000
	guestHome = "/home/guest"
)

// strictNative is what a program of one thread that handles no signals needs of
// [Native].
var strictNative = []string{"mmap", "munmap", "mprotect", "brk", "madvise", "futex", "rt_sigprocmask", "arch_prctl", "rseq",
	"set_robust_list", "exit", "exit_group"}

// only is rules without the calls that are not named.
func only(rules []Rule, calls ...string) (list []Rule) {
	for _, r := range rules {
		r.Calls = slices.DeleteFunc(slices.Clone(r.Calls), func(name string) bool { return !slices.Contains(calls, name) })
		if len(r.Calls) > 0 {
			list = append(list, r)
		}
	}
	return list
}

// Strict is the narrowest policy under which a program runs: it reads and writes
// the descriptors it is given, computes in memory of its own, and exits. All else
// is ENOSYS, opening its libraries too, so it must be linked statically; one of C
// runs. What it prints and how it exits is all there is to judge of it.
func Strict() Policy {
	return Policy{
		Calls:    append(only(Native(), strictNative...), Parts(Stdio)...),
		Default:  Deny,
		Mounts:   []Mount{{Guest: "/", Kind: KindProgram}}, // for the loader, the guest cannot look
		Limits:   Limits{Tasks: 1, Files: 64, Disk: 1 << 20},
		Identity: Identity{UID: guestID, GID: guestID, Hostname: "oubliette"},
	}
}

// Prison is the narrowest policy under which any program runs: every call is
// answered, out of a world in which there is standard input, output and error, the
// program's own executable, interpreter and libraries, a few devices, and nothing
// else. Give it more by adding mounts, and less by naming fewer [Parts].
func Prison() Policy {
	return Policy{
		Calls:   Parts(PartNames()...),
		Default: Deny,
		Mounts: []Mount{
			{Guest: "/", Kind: KindProgram},
			{Guest: "/dev", Kind: KindDev},
		},
		Limits:   Limits{Tasks: 256, Files: 1024, Descriptors: 1 << 14, Disk: 256 << 20},
		Identity: Identity{UID: guestID, GID: guestID, Hostname: "oubliette"},
	}
}

// Tool is a policy for programs that are installed on the host: they see the
// host's programs and libraries, the parts of /etc that programs need and that
// hold no secrets, private and empty /tmp, /var/tmp, /run and home, and no
// network. Of the host's users they see the system's, which own files.
//
// /opt is left out, because anything may have been unpacked there; so are /sys,
// /root, /home, /srv, and in /etc whatever may hold a password or token: shadow,
// ssh, ssl/private, the start-up files of shells, and the configuration of
// clients (gitconfig, npmrc, pip.conf, wgetrc).
//
// Tool looks at the host to list what exists; the policy is data like any other.
func Tool() Policy {
	p := Policy{
		Calls:   Parts(PartNames()...),
		Default: Deny,
		Mounts: []Mount{
			{Guest: "/dev", Kind: KindDev},
			{Guest: "/dev/shm", Kind: KindMemory, Mode: 0o1777},
			{Guest: "/proc", Kind: KindProc},
			{Guest: "/tmp", Kind: KindMemory, Mode: 0o1777},
			{Guest: "/var/tmp", Kind: KindMemory, Mode: 0o1777},
			{Guest: "/run", Kind: KindMemory},
			{Guest: guestHome, Kind: KindMemory},
			{Guest: "/etc/passwd", Kind: KindText, Text: systemUsers("/etc/passwd") +
				fmt.Sprintf("guest:x:%d:%[1]d:guest:%s:/bin/sh\n", guestID, guestHome)},
			{Guest: "/etc/group", Kind: KindText, Text: systemUsers("/etc/group") + fmt.Sprintf("guest:x:%d:\n", guestID)},
			{Guest: "/etc/hosts", Kind: KindText, Text: "127.0.0.1\tlocalhost oubliette\n::1\tlocalhost oubliette\n"},
			{Guest: "/etc/hostname", Kind: KindText, Text: "oubliette\n"},
		},
		// Bounds that no single tool should meet and that keep the host alive.
		Limits:   Limits{Tasks: 4096, Files: 4096, Descriptors: 1 << 17, Disk: 4 << 30},
		Identity: Identity{UID: guestID, GID: guestID, Hostname: "oubliette"},
	}
	for _, pattern := range toolPaths {
		found, _ := filepath.Glob(pattern) // fails only on a bad pattern
		for _, path := range found {
			p.Mounts = append(p.Mounts, Mount{Guest: path, Kind: KindHost, Host: path, Frozen: true, Optional: true})
		}
	}
	return p
}

// Server is [Tool] for a program that serves: on the jail's own network, it may
// listen at ports from 1024, and it may write in a private /var with the usual
// directories, /run and /tmp. What it serves, its configuration and the port that
// the host has of it are to be added:
//
//	p := policy.Server()
//	p.Mounts = append(p.Mounts,
//		policy.Mount{Guest: "/srv", Kind: policy.KindHost, Host: "/srv/site", Frozen: true},
//		policy.Mount{Guest: "/var/log/nginx", Kind: policy.KindMemory})
//	p.Net.Publish = []policy.Publish{{Host: "127.0.0.1:8080", Guest: 8080}}
func Server() Policy {
	p := Tool()
	writable := []Mount{{Guest: "/var", Kind: KindMemory}}
	for _, dir := range []string{"cache", "lib", "lock", "log", "run", "spool"} {
		writable = append(writable, Mount{Guest: "/var/" + dir, Kind: KindMemory})
	}
	p.Mounts = append(writable, p.Mounts...) // before Tool's /var/tmp
	return p
}

// toolPaths are the host paths, or patterns of them, that Tool shows.
var toolPaths = slices.Concat(
	[]string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/var/cache/fontconfig", "/var/lib/gems", "/var/lib/ghostscript", "/var/lib/texmf", "/nix/store", "/gnu/store"},
	under("/etc", "alternatives", // which program a name stands for
		"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-*", // libraries
		"host.conf", "nsswitch.conf", "protocols", "services", "networks", "rpc", "ethertypes", "gai.conf", "netconfig", "shells", // names
		"localtime", "timezone", "locale.alias", "locale.conf", "os-release", "debian_version", "lsb-release", "mtab",
		"ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates.conf", "crypto-policies", "gnutls", // trust, no keys
		"pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted",
		"fonts", "mime.types", "magic", "magic.mime", "papersize", "paperspecs", "libpaper.d", "ImageMagick-*", "ghostscript", "glvnd", "OpenCL",
		"sgml", "xml", "texmf", "groff", "manpath.config", "dictionaries-common", "inputrc", "terminfo", "xdg", "vim", "nanorc", // text
		"perl", "python3*", "R/Renviron", "R/ldpaths", "R/repositories", // languages
		"php/*/cli/conf.d", "php/*/mods-available"), // not php.ini
	// Not the directory: its management/ may hold jmxremote.password.
	under("/etc/java-*-openjdk", "security", "jvm-*.cfg", "*.properties", "psfont.properties.*"),
)

// under puts dir before each name.
func under(dir string, names ...string) []string {
	for i := range names {
		names[i] = dir + "/" + names[i]
	}
	return names
}

// systemUsers are the lines of the host's passwd or group file that are not
// about people: ids below 1000 and nobody's. Passwords never stay.
func systemUsers(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		text = []byte("root:x:0:0:root:/root:/bin/sh\n")
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || !(len(f[2]) <= 3 || f[2] == "65534") {
			continue
		}
		f[1] = "x"
		if strings.HasSuffix(file, "group") {
			f = append(f[:3], "") // members may be people
		}
		kept.WriteString(strings.Join(f, ":") + "\n")
	}
	return kept.String()
}

// Overlay is the caller's whole world under a layer in memory that takes every
// write and is dropped at the end: the host's tree as the caller may see it, the
// caller's user, groups and host name. Only /proc, /dev and the network are
// virtual. It hides nothing: it is for programs that are trusted with what they
// read and not with what they change.
func Overlay() Policy {
	host, _ := os.Hostname() // "" is the default's
	id := Identity{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Hostname: host}
	groups, _ := os.Getgroups() // none if the system does not say
	for _, g := range groups {
		id.Groups = append(id.Groups, uint32(g))
	}
	return Policy{
		Calls:   Parts(PartNames()...),
		Default: Deny,
		Mounts: []Mount{
			{Guest: "/", Kind: KindHost, Host: "/", Write: true, Overlay: true},
			{Guest: "/dev", Kind: KindDev},
			{Guest: "/dev/shm", Kind: KindMemory, Mode: 0o1777},
			{Guest: "/proc", Kind: KindProc},
		},
		Identity: id,
	}
}
