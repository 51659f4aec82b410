# needs: make
for i in $(seq 20); do echo $i > s$i.in; done
cat > Makefile <<'Y'
OUT := $(patsubst %.in,%.o,$(wildcard s*.in))
all: sum
sum: $(OUT) ; @cat $^ | awk '{s+=$$1}END{print s}' > $@; echo link
%.o: %.in ; @sleep 0.01; awk '{print $$1*2}' $< > $@; echo x >> log
sub: ; @$(MAKE) -s -C d
fail: ; exit 3
Y
mkdir d; printf 'all: a b c\na b c: ; @echo $@ > $@\n' > d/Makefile
make -s -j4; cat sum; make -s -j4; sleep 1; touch s7.in; make -s -j4; wc -l < log
make -s -j4 sub; cat d/a d/b d/c; make -q && echo uptodate; make fail; echo $?; make -j4 -O -k all fail; echo $?
