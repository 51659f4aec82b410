# needs: gcc ar nm
cat > t.c <<'Y'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
static void *f(void *a) { *(int *)a *= 2; return a; }
int main(int c, char **v)
{
	pthread_t t;
	int x = 21;
	pthread_create(&t, 0, f, &x);
	pthread_join(t, 0);
	printf("%d %s %.3f\n", x, c > 1 ? v[1] : "-", sqrt(x));
	return 3;
}
Y
gcc -O2 -Wall -o t t.c -lpthread -lm && ./t arg; echo $?
gcc -static -o ts t.c -lpthread -lm && ./ts; echo $?
gcc -c -pipe t.c && sha256sum < t.o && ar rc l.a t.o && nm l.a
echo 'int main( { }' > e.c; gcc e.c; echo $?
