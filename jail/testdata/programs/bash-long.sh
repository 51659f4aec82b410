# needs: bash sort sed tr head tail cut seq mkfifo cat wc uniq comm paste diff xargs tee sleep
# A day in the life of a shell, about as long as people's real scripts are.
set -u
section() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED %s (line %s)\n' "$1" "${BASH_LINENO[0]}"; }
check() { # name, wanted, got
	if [[ $2 == "$3" ]]; then printf 'ok %s\n' "$1"; else fail "$1: want <$2>, got <$3>"; fi
}

section variables and expansion
name=World
greeting="Hello, ${name}!"
check length 13 "${#greeting}"
check upper HELLO "$(x=hello; echo "${x^^}")"
check lower "hello, world!" "${greeting,,}"
check suffix file "$(p=/a/b/file.txt; b=${p##*/}; echo "${b%.*}")"
check prefix /a/b "$(p=/a/b/file.txt; echo "${p%/*}")"
check replace "H-ll-, W-rld!" "${greeting//[eo]/-}"
check default fallback "${unset_thing:-fallback}"
check assign given "${other:=given}$([ "$other" = given ] || echo no)"
check substring World "${greeting:7:5}"
check indirect World "$(ref=name; echo "${!ref}")"
check arithmetic 42 "$((6 * 7))"
check bases "255 8 5" "$((16#ff)) $((010)) $((2#101))"
check ternary yes "$((3 > 2 ? 1 : 0))$([ 1 = 1 ] && echo)" 2>/dev/null | sed 's/.*/ternary done/'
printf '%05d|%-6s|%6s|%x|%c|%q\n' 42 ab cd 255 xyz 'a b$c'
printf '%s\n' {1..5} {a..e..2} {01..03} pre{fix,pare}ed

section arrays
declare -a list=(one two "three four" five)
check count 4 "${#list[@]}"
list+=(six)
unset 'list[1]'
check indices "0 2 3 4" "${!list[*]}"
check last six "${list[-1]}"
check slice "three four five" "${list[*]:2:2}"
declare -A map=([apple]=red [banana]=yellow)
map[cherry]=dark
for k in $(printf '%s\n' "${!map[@]}" | sort); do printf '%s=%s ' "$k" "${map[$k]}"; done
echo
mapfile -t lines < <(printf 'l1\nl2\nl3\n')
check mapfile "3 l3" "${#lines[@]} ${lines[2]}"
read -r -a words <<<"  split   into words "
check words 3 "${#words[@]}"
IFS=: read -r first rest <<<"a:b:c"
check ifs "a b:c" "$first $rest"

section control
sum=0
for ((i = 1; i <= 100; i++)); do ((sum += i)); done
check gauss 5050 "$sum"
n=27 steps=0
while ((n != 1)); do
	if ((n % 2)); then ((n = 3 * n + 1)); else ((n /= 2)); fi
	((++steps))
done
check collatz 111 "$steps"
until ((steps < 100)); do ((steps -= 10)); done
check until 91 "$steps"
classify() {
	case $1 in
	[0-9]*) echo number ;;
	-*) echo option ;;&
	-v | --verbose) echo verbose ;;
	*.txt | *.md) echo text ;;
	*) echo other ;;
	esac
}
for w in 12 -v --verbose x.md thing; do printf '%s: %s\n' "$w" "$(classify "$w" | tr '\n' ' ')"; done
for w in a b c d; do
	[[ $w == b ]] && continue
	[[ $w == d ]] && break
	printf '%s ' "$w"
done
echo
select_none() { return 3; }
select_none || check status 3 "$?"
if [[ "foo123" =~ ^([a-z]+)([0-9]+)$ ]]; then check regex "foo 123" "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"; fi
factorial() { local n=$1; ((n <= 1)) && echo 1 || echo $((n * $(factorial $((n - 1))))); }
check recursion 3628800 "$(factorial 10)"
getopts_demo() {
	local OPTIND=1 opt out=
	while getopts ':ab:c' opt "$@"; do
		case $opt in a) out+=a ;; b) out+="b=$OPTARG" ;; :) out+="missing $OPTARG" ;; \?) out+="bad $OPTARG" ;; esac
	done
	shift $((OPTIND - 1))
	echo "$out rest=$*"
}
getopts_demo -a -b val x y
getopts_demo -z -b

section here-documents
cat <<EOT
expanded: $name $((1 + 1)) $(echo sub)
	tab kept
EOT
cat <<'EOT'
not expanded: $name
EOT
cat <<-EOT
	tab removed
	EOT
tr a-z A-Z <<<"here string"
wc -c <<EOT
$(head -c 70000 /dev/zero | tr '\0' x)
EOT

section files
mkdir -p tree/{a,b}/c
for f in tree/{a,b}/c/{1,2}; do echo "$f" >"$f"; done
shopt -s globstar nullglob dotglob
printf '%s\n' tree/**/1
check nullglob 0 "$(set -- none*; echo $#)"
shopt -u nullglob
[[ -d tree && ! -L tree && -f tree/a/c/1 && -s tree/a/c/1 && tree/a/c/1 -ef tree/a/c/../c/1 ]] && echo tests hold
ln -s a tree/link && check readlink a "$(readlink tree/link)"
exec 3>out.txt
echo to three >&3
{ echo grouped; echo err >&2; } >>out.txt 2>&1
exec 3>&-
cat out.txt
(cd tree && pwd | sed 's/.*\///' && umask 077 && : >private && stat -c %a private)
exec {fd}<out.txt
read -r -u "$fd" line && check varfd "to three" "$line"
exec {fd}<&-
set -o noclobber
{ echo x >out.txt; } 2>/dev/null || echo noclobber holds
set +o noclobber
echo over >|out.txt
trap 'rm -f tmpfile' EXIT
: >tmpfile

section pipelines
seq 1 1000 | sort -rn | head -3 | paste -sd,
printf '%s\n' b a c b a | sort | uniq -c | sort -k1,1nr -k2 | sed 's/^ *//'
comm -12 <(printf '%s\n' a b c | sort) <(printf '%s\n' b c d | sort) | paste -sd' '
diff <(echo same) <(echo same) && echo no difference
diff <(echo one) <(echo two) | sed 's/^/  /'
tee >(tr a-z A-Z >upper.txt) <<<"into two" >lower.txt
while [ ! -s upper.txt ]; do sleep 0.01; done
cat lower.txt upper.txt
false | true; check pipestatus "1 0" "${PIPESTATUS[*]}"
set -o pipefail; false | true; check pipefail 1 "$?"; set +o pipefail
yes | head -n 100000 | wc -l
seq 20 | xargs -n 7 echo
seq 8 | xargs -P 4 -I{} sh -c 'echo {}' | sort -n | paste -sd' '
{ echo a; echo b; } | while read -r x; do printf '<%s>' "$x"; done; echo
cat <(echo from) <(echo several) - <<<stdin
mkfifo fifo
(for i in 1 2 3; do echo "message $i"; done >fifo) &
cat fifo
wait $!

section processes
(exit 7); check exit 7 "$?"
sh -c 'kill -TERM $$' 2>/dev/null; check killed 143 "$?"
sh -c 'echo up >fifo; exec sleep 30' & pid=$! # bash itself, just forked, may lose a signal
read -r up <fifo
kill -0 "$pid" && echo is "$up"
kill "$pid"; wait "$pid" 2>/dev/null; check waited 143 "$?"
for i in 3 1 2; do (sleep "0.$i"; exit "$i") & pids[i]=$!; done
for i in 1 2 3; do wait "${pids[i]}"; printf '%s ' "$?"; done; echo
(sleep 0.3; exit 9) & (sleep 9; exit 8) & later=$!
wait -n; check first 9 "$?"; kill "$later" 2>/dev/null
wait
check nochildren 127 "$(wait 999999 2>/dev/null; echo $?)"
coproc doubler { while read -r x; do echo $((2 * x)); done; }
echo 21 >&"${doubler[1]}"
read -r answer <&"${doubler[0]}"
check coproc 42 "$answer"
pid=$doubler_PID
eval "exec ${doubler[1]}>&-"
wait "$pid"
check subshell "$$" "$(echo $$)"
[[ $BASHPID == "$$" && $(echo "$BASHPID") != "$$" ]] && echo bashpid differs in a subshell
check level 1 "$(bash -c '(echo $BASH_SUBSHELL)')"
read -t 0.05 -r never < <(sleep 0.3; echo late) || check timeout yes "$([ $? -gt 128 ] && echo yes)"
timeout 0.1 sleep 5; check timed 124 "$?"
time_out=$( { TIMEFORMAT=%R; time sleep 0.1; } 2>&1)
[[ $time_out =~ ^0[.,][1-9] ]] && echo time is measured
ulimit -n 64; check ulimit 64 "$(bash -c 'ulimit -n')"
nice -n 5 bash -c 'nice' 
env -i A=1 bash --norc -c 'echo "$A ${HOME-unset}"'

section signals and traps
trap 'echo got USR1' USR1
kill -USR1 $$
trap - USR1
bash -c 'trap "echo int; exit 5" INT; kill -INT $$; echo not here'; check trapped 5 "$?"
bash -c 'trap "" TERM; kill -TERM $$; echo survived'
bash -c 'trap "echo bye" EXIT; exit 4'; check onexit 4 "$?"
bash -c 'trap "echo err at \$LINENO" ERR
false
true'
bash -c 'f() { trap "echo returned" RETURN; :; }; f'
bash -c 'trap "echo debug >/dev/null" DEBUG; :'
(trap 'echo child; exit 0' TERM; kill -TERM "$BASHPID"; sleep 1)
bash -c 'trap "echo chld" CHLD; sleep 0.05 & wait; trap - CHLD'
set -m
sleep 3 & job=$!
[[ $(ps -o pgid= -p "$job" 2>/dev/null | tr -d ' ') == "$job" || ! -x /bin/ps ]] && echo a group of its own
jobs -l | sed 's/[0-9]\{2,\}/PID/g; s/^\[1\]+ *[0-9]* /[1]+ PID /' | cut -c1-40
kill -STOP "$job"
while [[ $(jobs) != *Stopped* ]]; do sleep 0.01; done
jobs | sed 's/  */ /g'
kill -CONT "$job"
fg %1 >/dev/null; check foreground 0 "$?"
sleep 0.1 | sleep 0.1 & wait; echo pipeline job done
set +m

section options
bash -euc 'false; echo not reached'; check errexit 1 "$?"
bash -uc 'echo $undefined' 2>/dev/null; check nounset 127 "$?"
bash -nc 'if' 2>/dev/null; check syntax 2 "$?"
bash -xc 'echo traced; : $((1+1))' 2>&1
set -- a "b c" d
check args 3 "$#"
shift 2; check shifted d "$1"
[[ $- == *u* ]] && echo nounset is on
type -t cd ls section if
command -v sort >/dev/null && echo found
hash -r
alias ll='ls -l'; alias ll
declare -r constant=1; (constant=2) 2>/dev/null || echo readonly holds
declare -i number=5+5; check integer 10 "$number"
declare -p number map | sort | sed 's/(.*/(…/'
declare -f getopts_demo | head -2
echo "$BASH_SUBSHELL"
[[ $RANDOM =~ ^[0-9]+$ && $SECONDS -ge 0 && -n $BASH_VERSION && $EUID == "$UID" || $EUID != "$UID" ]] && echo special variables
printf -v stored '%03d' 7; check printfv 007 "$stored"
printf '%(%Y-%m-%d)T\n' 86400
check lineno "$LINENO" "$((LINENO))"
LC_ALL=C bash -c 'x=$(printf "\303\244"); echo ${#x}'
x=$(printf '\303\244'); echo ${#x}
history -c 2>/dev/null; fc -l 2>/dev/null; echo end

section more pipelines
seq 200 | awk '{ s += $1 } END { print s }'
seq 5 | while read -r n; do echo $((n * n)); done | paste -sd, -
{ echo one; echo two >&2; } 2>&1 | sort
! false; check negated 0 "$?"
(set -o pipefail; true | false | true; echo "$?")
seq 20 | tee >(wc -l >count) >/dev/null; while [[ ! -s count ]]; do sleep 0.01; done; check tee 20 "$(<count)"
seq 1000 | head -3; check "head's writer" "141 0" "$(seq 100000 | head -1 >/dev/null; echo "${PIPESTATUS[@]}")"
diff <(printf '%s\n' a b c) <(printf '%s\n' a x c)
cat <(cat <(cat <(echo nested)))
exec 7> >(sed 's/^/seven: /'); seven=$!; echo through a substitution >&7; exec 7>&-; wait "$seven"

section co-processes
coproc upper { while read -r line; do echo "${line^^}"; done; }
helper=$upper_PID
for word in alpha beta gamma; do echo "$word" >&"${upper[1]}"; read -r answer <&"${upper[0]}"; echo "$answer"; done
eval "exec ${upper[1]}>&-"
wait "$helper"; check coprocess 0 "$?"

section background jobs
declare -A started
for n in 1 2 3 4; do (sleep 0.0$n; exit "$n") & started[$!]=$n; done
sum=0
for pid in "${!started[@]}"; do wait "$pid"; status=$?; ((status == started[$pid])) || echo "wrong status $status"; ((sum += status)); done
check "sum of statuses" 10 "$sum"
(sleep 0.2; exit 9) & wait -n; check "wait -n" 9 "$?"
wait 999999 2>/dev/null; check "not a child" 127 "$?"
sleep 5 & while [[ $(</proc/$!/comm) != sleep ]]; do :; done; kill "$!"; wait "$!" 2>/dev/null; check killed 143 "$?"
{
	for sig in HUP INT TERM USR1; do
		bash -c "kill -$sig \$\$; sleep 1"
		echo "$sig $?"
	done
} 2>/dev/null
(trap 'echo cleaned up' EXIT; exit 3) & wait "$!"; check "trap in a job" 3 "$?"
seq 8 | xargs -P4 -n1 bash -c 'echo "job $0"' | sort

section arrays again
mapfile -t lines < <(printf '%s\n' zeta eta theta iota)
check mapfile 4 "${#lines[@]}"
IFS=$'\n' sorted=($(sort <<<"${lines[*]}")); unset IFS
echo "${sorted[*]}"; echo "${sorted[@]:1:2}"; echo "${sorted[@]/eta/ETA}"
declare -A ages=([ann]=31 [bob]=27 [cyd]=45)
for name in $(printf '%s\n' "${!ages[@]}" | sort); do echo "$name ${ages[$name]}"; done
unset 'ages[bob]'; check unset 2 "${#ages[@]}"
matrix=(); for i in 0 1 2; do for j in 0 1 2; do matrix[i * 3 + j]=$((i * j)); done; done
echo "${matrix[@]}"
reference() { local -n target=$1; target+=(added); }
reference sorted; echo "${sorted[-1]} ${#sorted[@]}"

section files
mkdir -p tree/{a,b}/{1,2}; touch tree/a/1/x tree/b/2/{y,z}
find tree -type f | sort; shopt -s globstar nullglob; echo tree/**/[xyz]; echo tree/none*; shopt -u nullglob
ln -s ../b/2 tree/a/link; (cd -P tree/a/link && basename "$PWD"); (cd -L tree/a/link && basename "$PWD")
[[ tree/a/1/x -ef tree/a/1/../1/x ]] && echo the same file
[[ -L tree/a/link && -d tree/a/link && ! -e tree/none ]] && echo tests of files
umask 027; touch masked; stat -c %a masked; umask 022
set -C; echo x 2>/dev/null >masked || echo noclobber; echo y >|masked; cat masked; set +C
while read -r -u 9 first rest; do echo "$rest $first"; done 9<<'END'
one two three
four five
END
rm -r tree masked count
echo end of all
