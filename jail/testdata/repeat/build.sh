# Builds a program of ten files with make, and says what came of it.
mkdir /tmp/build && cd /tmp/build || exit
for i in 1 2 3 4 5 6 7 8 9; do
	printf '#include <stdio.h>\nint f%d(int n) { static char b[99]; return sprintf(b, "%%d " __FILE__ __DATE__ __TIME__, n * %d); }\n' $i $i > f$i.c
	echo "int f$i(int);" >> all.h
done
printf '#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", f1(1)+f2(2)+f3(3)+f4(4)+f5(5)+f6(6)+f7(7)+f8(8)+f9(9)); }\n' > main.c
printf 'O = main.o f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o f9.o\nprog: $O\n\tgcc -o $@ $O\n%%.o: %%.c\n\t@echo $@ $$$$ $$PPID\n\tgcc -O2 -g -c -o $@ $<\n' > Makefile
make "$@" && ./prog && sha256sum -- * && ls -lai --time-style=full-iso
