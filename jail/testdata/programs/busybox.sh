# needs: busybox
b=$(command -v busybox)
$b seq 100 | $b awk '{ s += $1 } END { print s }'
$b mkdir -p a/b
$b seq 20 | $b xargs -n1 -P4 $b sh -c 'echo $0 > a/b/$0'
$b find a -type f | $b sort | $b tail -3
$b tar cz a | $b tar tz | $b sort | $b md5sum
$b dd if=/dev/zero bs=1k count=64 2> /dev/null | $b sha1sum
$b timeout 1 $b sleep 60; echo $?
$b cp -a a c && $b diff -r a c && echo same
$b ln -s a l && $b readlink l && $b stat -c '%a %F %s' a/b/7
$b sed -i s/7/seven/ a/b/7 && $b grep -r seven a && $b od -c a/b/7
$b gzip < "$b" | $b gunzip | $b cmp - "$b" && echo gzip
$b sh -c 'for i in 1 2 3; do (echo job $i) & wait; done; trap "echo bye" EXIT; kill -0 $$ && echo alive'
echo '2^100' | $b bc; $b date -u -d @0; $b cal 1 2000; $b expr 3 \* 4; $b env -i A=1 $b env
$b mkfifo p; ($b cat p &); echo fifo > p; $b sleep 0.2
$b yes | $b head -3; $b rm -r a; $b ls; $b uname -s
