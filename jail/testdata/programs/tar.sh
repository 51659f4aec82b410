# needs: tar gzip
tar --owner=0 --group=0 --sort=name -cf all.tar -C /usr/share doc && sha256sum < all.tar && gzip -n1 < all.tar | sha256sum
ls /usr/share/doc | head -60 | sed s,^,doc/, > list
tar -cf a.tar --sort=name -C /usr/share -T list && mkdir x && tar xf a.tar -C x
ls x/doc | while read d; do diff -r --no-dereference "x/doc/$d" "/usr/share/doc/$d"; done && echo same
find x -mindepth 2 -printf '%P %y %m %T@ %l\n' | LC_ALL=C sort | sha256sum
