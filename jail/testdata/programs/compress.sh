# needs: xz zstd bzip2 gzip
find /usr/share/perl /usr/lib/python3 -type f -name '*.p[my]' | LC_ALL=C sort | xargs cat | head -c 6000000 > big
sha256sum < big && zstd -q -k -T2 big && zstd -q -dc big.zst | cmp - big
head -c 1000000 big > small && xz -k -T2 small && sha256sum < small.xz && xz -dc small.xz | cmp - small
bzip2 -k small && sha256sum < small.bz2 && gzip -nk small && zcat small.gz | cmp - small && ls -s1 --block-size=1 small* | sed 's/^ *[0-9]* //'
