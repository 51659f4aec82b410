# Background jobs, pipes, signals, clocks: order and numbers that chance decides.
for i in 1 2 3 4 5; do (sleep 0.0$i; echo job $i $$ $BASHPID $RANDOM) & done
wait
seq 20 | xargs -P8 -n1 sh -c 'echo $0 $$ $PPID; date +%N'
trap 'echo caught' USR1
kill -USR1 $$
(sleep 1; kill -USR1 $$) &
wait
echo $RANDOM $SECONDS $EPOCHREALTIME
time sleep 3
coproc cat
echo through >&${COPROC[1]}
read -r line <&${COPROC[0]}
echo $line
(kill -STOP $BASHPID; echo goes on) &
sleep 1
kill -CONT %%
wait %%
times
ps aux
(yes a | head -c 300000) & yes b | head -c 300000; wait $!
mktemp
mktemp -d
