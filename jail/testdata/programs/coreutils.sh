# needs: stat shuf dd
seq 100000 | shuf --random-source=/usr/bin/perl | sha256sum; seq 100000 | sort -rn | uniq | wc
touch -d 2001-02-03T04:05:06Z f; stat -c '%Y %n %F' f; ln f g; stat -c %h f; mv f h
dd if=/dev/zero of=sp bs=1 count=0 seek=1M 2> /dev/null; stat -c '%s %b' sp; truncate -s 5 sp; tac <(seq 3)
chmod 4755 h; stat -c %A h; install -m 700 h i; realpath i | sed 's,.*/,,'; tee a b <<< x; split -n 2 a; ls
join <(seq 3) <(seq 2 4); comm -12 <(seq 3) <(seq 2 4); mkfifo ff; (echo x > ff &); cat ff; nice -n 5 nice
tail -f a & sleep 0.3; kill $!; wait $!; echo $?; md5sum a b | md5sum -c; ls /nonexistent; echo $?; cp -r /usr/share/perl5 p; diff -r p /usr/share/perl5 && rm -r p
mkdir d; mv d e; cp --reflink=auto a e/; flock f echo locked; taskset -c 0 echo pinned; ps -o comm= -p $$; readlink -f /proc/self/exe
seq 100 | xargs -P4 -n10 echo | tr ' ' '\n' | sort -n | sha256sum; env -u W -u HOME -u PWD -u OLDPWD -u SHLVL env | sort
