# needs: bash
trap 'echo exit-trap' EXIT; trap 'echo usr1' USR1
for i in 1 2 3; do (sleep 0.$((3 * i)); echo job$i) & done; wait
kill -USR1 $$; diff <(seq 1 5) <(seq 1 5) && echo same
paste -d, <(seq 3) <(seq 4 6)
coproc C { while read -r l; do echo "got $l"; done; }
echo hi >&"${C[1]}"; read -r r <&"${C[0]}"; echo "$r"; eval "exec ${C[1]}>&-"
mkdir d; touch d/{a,b}{1,2}.txt; shopt -s globstar; echo d/**/*1.txt; cat <<Y | tr a-z A-Z
here $((6 * 7))
Y
mapfile -t A < <(printf '%s\n' z y x | sort); echo "${A[*]}"
read -t 0.1 v < <(sleep 1) || echo timeout $(($? > 128))
(exit 7) || echo "status $?"; exec 5<>f; echo data >&5; exec 5>&-; wc -c < f; (ulimit -n 64; ulimit -n)
seq 1 100000 | head -1; yes | head -2; echo ${PIPESTATUS[@]}; set -o pipefail; false | true || echo pipefail
(trap 'echo term; exit 9' TERM; kill -TERM $BASHPID; echo not) || echo $?
sleep 100 & p=$!; sleep 0.1; kill $p; wait $p; echo $?
sleep 0.1 & wait -n; echo $?; echo a > >(cat); sleep 0.1; exec 3< <(echo fd3); read x <&3; echo $x
(echo a; echo b >&2) 2>&1 | sort; cat <<< here; [[ -e /dev/fd/0 ]] && echo devfd; command -v ls; type cd
timeout 0.2 sleep 60; echo $?; echo x | xargs -I{} echo {}-{}; test -t 0 || echo notty
(kill -STOP $BASHPID; echo cont) & sleep 0.2; kill -CONT $!; wait $!; echo $?
ulimit -Hc; ulimit -Sc 1000 && ulimit -Sc; (ulimit -c 0; ulimit -Hc; bash -c 'kill -SEGV $$'; echo $?) 2> f; umask 027; touch u; stat -c %a u; (cd d; pwd -P | sed 's,.*/,,'); exec echo replaced
