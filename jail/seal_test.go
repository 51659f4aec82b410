//go:build linux && amd64

package jail_test

import (
	"io/fs"
	"os/exec"
	"testing"
	"testing/fstest"

	"oubliette/jail"
)

const sealC = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static int file;
static pthread_barrier_t start;

static void *seal(void *sealed) {
	pthread_barrier_wait(&start);
	*(int *)sealed = fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0;
	return 0;
}

int main(void) {
	int both = 0, either = 0;
	for (int i = 0; i < 3000; i++) {
		pthread_t t;
		int sealed;
		file = memfd_create("m", MFD_ALLOW_SEALING);
		ftruncate(file, 4096);
		pthread_barrier_init(&start, 0, 2);
		pthread_create(&t, 0, seal, &sealed);
		pthread_barrier_wait(&start);
		void *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		pthread_join(t, 0);
		both += sealed && p != MAP_FAILED;
		either += sealed || p != MAP_FAILED;
		if (p != MAP_FAILED)
			munmap(p, 4096);
		close(file);
	}
	printf("%d %d\n", both, either);
}`

// TestSealRace: what is sealed against writing while another thread maps it to write is
// not mapped, or else not sealed.
func TestSealRace(t *testing.T) {
	program := compile(t, map[string]string{"s.c": sealC}, "s", "gcc", "-static-pie", "-pthread", "-o", "s", "s.c")
	p := empty()
	j := &jail.Jail{Mounts: map[string]fs.FS{"/bin": fstest.MapFS{"s": {Data: program, Mode: 0o755}}}}
	if r := jailed(t, j, exec.Command("/bin/s"), p); r != (result{Stdout: "0 3000\n"}) {
		t.Errorf("%+v", r)
	}
}
