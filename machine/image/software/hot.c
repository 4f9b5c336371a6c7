// SPDX-License-Identifier: GPL-2.0
/*
 * hot N: of the user mode instructions of this program, four fifths are in
 * hot_function() and one fifth in cool_function(), up to a few hundred: 20 N and
 * 5 N instructions, N >= 1.
 * hot N kernel: N times one kilobyte of /dev/urandom; the kernel's hot function
 * is that of the cipher.
 * It is for profilers: static, with a symbol table.
 */
static __attribute__((noinline, used)) void hot_function(unsigned long n)
{
	__asm__ volatile("1: .rept 18; nop; .endr; dec %0; jnz 1b" : "+r"(n) : : "cc");
}

static __attribute__((noinline, used)) void cool_function(unsigned long n)
{
	__asm__ volatile("1: .rept 3; nop; .endr; dec %0; jnz 1b" : "+r"(n) : : "cc");
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
	static char bytes[1024];
	int fd;

	if (argc > 2) {
		fd = open("/dev/urandom", O_RDONLY);
		while (n-- && read(fd, bytes, sizeof(bytes)) == sizeof(bytes))
			;
		return n != -1UL;
	}
	hot_function(n);
	cool_function(n);
	return 0;
}
