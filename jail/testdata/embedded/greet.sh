#!/busybox sh
echo "a script out of embed.FS, $0 $1, sees" *
