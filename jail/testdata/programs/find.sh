# needs: find
find /usr/share/doc /usr/share/perl | sha256sum
find /usr/share/doc /usr/share/perl /usr/bin -printf '%p %y %m %s %n %i %T@ %C@ %l\n' | sha256sum
ls -lR --time-style=+%s /usr/share/doc | sha256sum
