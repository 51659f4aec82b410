# needs: mawk jq lua
seq 10000 | mawk '{ s += $1; a[$1 % 7]++ } END { print s; for (i = 0; i < 7; i++) print i, a[i] }'
mawk 'BEGIN { while (("echo cmd; seq 3" | getline l) > 0) print "got", l
	print "b\na" | "sort"; close("sort"); system("echo sys"); print length("abc") > "out"; close("out")
	while ((getline l < "out") > 0) printf "%5.2f|%s\n", l, toupper("x") }'
echo '{"b": 1, "a": {"c": [1, "x", null, true]}}' | jq -S . && seq 1000 | jq -s add
echo bad | jq . || echo "status $?"
exec lua -e 'local f = io.open("x", "w") f:write("hi\n") f:close()
for l in io.lines("x") do print(l) end
print(os.execute("exit 3")) print(io.popen("echo p"):read("a"), os.rename("x", "y"), os.remove("y"))
print(string.format("%q %5.1f", "a\nb", 2.5), _VERSION)'
