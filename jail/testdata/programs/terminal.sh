# needs: bash script python3 stty tmux
script -qec 'tty | tr -s 0-9 N; stty -a; stty size; [ -t 0 ] && [ -t 1 ] && echo tty; exit 4' /dev/null; echo "status $?"
script -qec 'stty -echo -icanon min 2; printf "a\tb\r\n"; stty sane; stty -a | grep -c icanon' typescript > /dev/null; wc -l < typescript
echo 'typed | tr a-z A-Z' | script -qec 'read x; eval "echo $x"' /dev/null
ls -d /dev/ptmx /dev/pts; (exec < /dev/tty) 2> /dev/null || echo no terminal
cat > drive.py <<'Y'
import os, pty, re, select, time
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(PS1='@ ', TERM='dumb')
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
out = ''
def expect(text):
    global out
    end = time.time() + 15
    while text not in out:
        if time.time() > end:
            raise SystemExit('%r in %r' % (text, out))
        if select.select([fd], [], [], 0.1)[0]:
            out += os.read(fd, 4096).decode()
    at = out.index(text) + len(text)
    print(re.sub(r'\[(\d)\] \d+', r'[\1] PID', out[:at]))
    out = out[at:]
def says(line, text):
    time.sleep(0.1) # bash loses what is typed before it is ready
    os.write(fd, line.encode())
    expect(text)
expect('@ ')
cat = "sh -c 'echo up; cat'"
says('echo one\n', '\none\r\n@ ')
says(cat + '\n', '\nup\r\n')
says('lone \x17\x17word\n', '\nword\r\n')
says('\x1a', 'Stopped')
expect('@ ')
says('sleep 100 &\n', '@ ')
says('jobs\n', '@ ')
says('fg %1\n', "cat'\r\n")
time.sleep(0.2)
says('again\n', '\nagain\r\n')
says('\x03', '@ ')
says('echo $?\n', '130\r\n@ ')
says('fg\n', 'sleep 100\r\n')
time.sleep(0.2)
says('\x1a', 'Stopped')
expect('@ ')
says('bg\n', '@ ')
says('kill %2; sleep 0.5\n', 'Terminated')
expect('@ ')
says('cat & sleep 0.5\n', 'Stopped')
expect('@ ')
says('kill -9 %1; sleep 0.5\n', 'Killed')
expect('@ ')
says('exit 3\n', 'exit')
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
Y
python3 drive.py
export TERM=xterm SHELL=/bin/bash; mux() { tmux -S "$W/socket" -f /dev/null "$@"; }
shown() { for i in $(seq 100); do mux capture-pane -p -t a | grep -q "^$1" && break; sleep 0.1; done; mux capture-pane -p -t a | sed '/^$/d'; }
mux new-session -d -s a -x 60 -y 12 "PS1='@ ' bash --norc --noprofile"; shown @
mux send-keys -t a 'stty size; echo a b | cut -d" " -f2' Enter; shown 'b$'
mux send-keys -t a 'sleep 100' Enter; sleep 0.3; mux send-keys -t a C-c 'echo $?' Enter; shown 130
mux split-window -h -t a; mux list-panes -t a -F '#{pane_index} #{pane_width}x#{pane_height}'; mux kill-server
