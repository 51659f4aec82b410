# needs: gs
cat > t.ps <<'Y'
%!PS
/Helvetica findfont 40 scalefont setfont 100 400 moveto (Hello) show
0 0 1 setrgbcolor 100 100 200 150 rectfill 1 0 0 setrgbcolor 300 300 100 0 360 arc fill showpage
Y
gs -q -dBATCH -dNOPAUSE -sDEVICE=png16m -r72 -sOutputFile=o.png t.ps && od -An -tx1 -N8 o.png && sha256sum < o.png
