// A guest is a function, ESCAPE(name) { … }, that tries one way out. What it is to reach is named in its
// environment, see the test. What it gets hold of it prints; what it must not have got and cannot be seen
// otherwise it tells with got().
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef unsigned long word;

struct escape { const char *name; void (*run)(void); };

#define ESCAPE(f) static void escape_##f(void); \
	__attribute__((used, section("escapes"))) static const struct escape row_##f = {#f, escape_##f}; \
	static void escape_##f(void)

extern char *argument;                      // argv[2], or null
const char *host(const char *name);         // a name of the host's, "" if there is none
word num(const char *name);                 // or a number
const char *at(const char *dir, const char *name); // host(dir)/name, until the next
int worked(const char *what, long ret);     // says why not
void loot(const char *what, int fd);        // prints what a descriptor holds
void got(const char *what);                 // says what must not be
int thread(void *(*run)(void *));           // another thread, detached; false where there can be none
void again(const char *program, const char *arg); // executes a program as this guest
int filter(unsigned verdict, int flags);    // a seccomp filter of chmod, by its number

extern volatile int over;                   // set at the end: threads look
