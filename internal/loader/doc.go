// Package loader is execve's program loader: it reads a program, its "#!" line,
// its ELF headers and its interpreter, and says which mappings make a process
// out of them. Package stub makes those mappings inside the process.
//
//	image, err := loader.Load(open, "/bin/sh", args, loader.Options{Random: rand.Reader})
//	…start the stub with image.Args…
//	image.Batch(&batch, arenas) // the mappings, as calls for the stub
//	…run the batch; base is its saved result (r15)…
//	writes, err := loader.PatchStack(sp, stack, image.Patch(base))
//	…rip = image.Start(base)…
//
// It follows fs/exec.c, fs/binfmt_script.c and fs/binfmt_elf.c of Linux 6.18,
// and the tests hold it against execve page by page. It differs on purpose where
// the kernel has already destroyed the old image and kills the process: Load
// still returns an error, ENOEXEC for the program, ELIBBAD for the interpreter.
// A static-PIE program lies where other programs lie, not among the libraries.
// An ET_DYN interpreter lies where the kernel likes even if its addresses do not
// begin at 0. Pages of a segment beyond the end of its file are zero, not SIGBUS.
//
// The files are the guest's, so nothing in them is believed: every number is
// checked, memory use is bounded by two program header tables of 64 KiB, and no
// mapping can touch the stub, which runs without a filter while it maps.
package loader
