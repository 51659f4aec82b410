# needs: /usr/bin/convert /usr/bin/identify
/usr/bin/convert -size 200x200 gradient:red-blue -fill white -pointsize 30 -annotate +20+100 Hi -define png:exclude-chunks=date,time o.png
/usr/bin/convert o.png -resize 50% -blur 0x2 -strip o.jpg && sha256sum < o.png && sha256sum < o.jpg
/usr/bin/convert - png:- < o.png | /usr/bin/identify - | cut -d' ' -f2-4
