// Package stub makes the program every guest process starts as: a static
// x86-64 ELF of one page of code and some zeroed data pages.
//
// It does nothing of its own: at its ELF entry it pauses for ever, which also
// makes it the warden's bell. The warden stops it, writes a [Batch] to DataAddr
// and moves rip to RunAddr; the stub makes the calls of the batch one after the
// other and pauses again. The last call of a batch installs the guest's seccomp
// filter, so that pause is the first trapped call and means "done". A call that
// had to succeed and did not ends in int3: SIGTRAP means "failed".
//
// The stub uses no stack and leaves rsp alone, so the stack the kernel built at
// its exec (argv, envp, auxv) is there for the guest.
package stub

import "encoding/binary"

// Where the stub lies. The address is far from everything the kernel chooses,
// and the kernel's brk, which starts behind the data, has room to grow.
const (
	Base     = 0x500000000000
	Size     = 1 << 20 // bytes to unmap when done; only touched pages cost
	DataAddr = Base + page
	DataSize = Size - page

	// IdleAddr is the ELF entry, the pause loop.
	IdleAddr = Base + codeOff
	// RunAddr runs the batch at DataAddr. The registers at the end: rbx 0, or
	// the address of the call that failed (see Batch.Index) and rax its result;
	// r15 the last saved result; everything but rsp is worthless to the guest.
	RunAddr uint64 = IdleAddr + uint64(len(idle))

	page    = 4096
	codeOff = 0x100 // behind the ELF header and three program headers
)

// idle is the ELF entry.
const idle = "\xb8\x22\x00\x00\x00" + // mov eax, 34 (pause)
	"\x0f\x05" + // syscall
	"\xeb\xf7" // jmp idle

// run executes the batch: rbx is the entry, r14 its flags, r15 the saved result.
func run() []byte {
	c := []byte("\x48\xbb") // mov rbx, DataAddr
	c = binary.LittleEndian.AppendUint64(c, DataAddr)
	c = append(c, "\x45\x31\xff"...) // xor r15d, r15d
	next := len(c)
	c = append(c, "\x48\x8b\x1b"+ // mov rbx, [rbx+0] (next)
		"\x48\x85\xdb"+ // test rbx, rbx
		"\x74\x00"...) // jz idle
	patch(c, len(c), -len(idle))
	c = append(c, "\x4c\x8b\x73\x10"+ // mov r14, [rbx+16] (flags)
		"\x48\x8b\x7b\x18"+ // mov rdi, [rbx+24] (a0)
		"\x48\x8b\x73\x20"+ // mov rsi, [rbx+32] (a1)
		"\x48\x8b\x53\x28"+ // mov rdx, [rbx+40] (a2)
		"\x4c\x8b\x53\x30"+ // mov r10, [rbx+48] (a3)
		"\x4c\x8b\x43\x38"+ // mov r8, [rbx+56] (a4)
		"\x4c\x8b\x4b\x40"+ // mov r9, [rbx+64] (a5)
		bit(AddBase)+
		"\x73\x03"+ // jnc +3
		"\x4c\x01\xff"+ // add rdi, r15
		"\x48\x8b\x43\x08"+ // mov rax, [rbx+8] (number)
		bit(Clear)+
		"\x72\x00"...) // jc clear
	toClear := len(c)
	c = append(c, "\x0f\x05"...) // syscall
	store := len(c)
	c = append(c, "\x48\x89\x43\x48"+ // mov [rbx+72], rax (result)
		bit(Save)+
		"\x73\x03"+ // jnc +3
		"\x49\x89\xc7"+ // mov r15, rax
		bit(Must)+
		"\x73\x00"...) // jnc next
	patch(c, len(c), next)
	c = append(c, "\x48\x3d\x01\xf0\xff\xff"+ // cmp rax, -4095
		"\x72\x00"...) // jb next
	patch(c, len(c), next)
	c = append(c, "\xcc"+ // int3
		"\xeb\x00"...) // jmp idle
	patch(c, len(c), -len(idle))
	patch(c, toClear, len(c))
	c = append(c, "\x48\x89\xf1"+ // clear: mov rcx, rsi
		"\x31\xc0"+ // xor eax, eax
		"\xf3\xaa"+ // rep stosb
		"\xeb\x00"...) // jmp store
	patch(c, len(c), store)
	return c
}

// bit sets the carry flag to one flag of the entry.
func bit(f Flags) string {
	n := byte(0)
	for f>>n != 1 {
		n++
	}
	return "\x41\x0f\xba\xe6" + string([]byte{n}) // bt r14d, n
}

// patch makes the two-byte jump that ends at offset end go to offset target.
func patch(c []byte, end, target int) {
	d := target - end
	if d != int(int8(d)) {
		panic("stub: jump too far")
	}
	c[end-1] = byte(int8(d))
}

// Image returns the ELF file.
func Image() []byte {
	code := append([]byte(idle), run()...)
	total := uint64(codeOff + len(code))
	le := binary.LittleEndian
	e := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	e = le.AppendUint16(e, 2)  // ET_EXEC
	e = le.AppendUint16(e, 62) // EM_X86_64
	e = le.AppendUint32(e, 1)
	e = le.AppendUint64(e, IdleAddr)
	e = le.AppendUint64(e, 64) // program headers follow
	e = le.AppendUint64(e, 0)
	e = le.AppendUint32(e, 0)
	for _, v := range []uint16{64, 56, 3, 64, 0, 0} {
		e = le.AppendUint16(e, v)
	}
	segment := func(typ, flags uint32, vaddr, filesz, memsz uint64) {
		e = le.AppendUint32(e, typ)
		e = le.AppendUint32(e, flags)
		for _, v := range []uint64{0, vaddr, vaddr, filesz, memsz, page} {
			e = le.AppendUint64(e, v)
		}
	}
	const load, gnuStack, x, w, r = 1, 0x6474e551, 1, 2, 4
	segment(load, r|x, Base, total, total)
	segment(load, r|w, DataAddr, 0, DataSize)
	segment(gnuStack, r|w, 0, 0, 0) // so that the stack is not executable
	return append(append(e, make([]byte, codeOff-len(e))...), code...)
}
