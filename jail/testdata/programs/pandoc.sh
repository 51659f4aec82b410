# needs: pandoc
printf '# T\n\n- a\n- *b*\n\n| x | y |\n|---|---|\n| 1 | 2 |\n' > t.md
pandoc t.md -o t.html && cat t.html && pandoc t.md -t latex | sha256sum && pandoc -f html -t markdown t.html
