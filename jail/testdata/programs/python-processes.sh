# needs: python3
cat > mp.py <<'Y'
import multiprocessing as mp, os, signal, subprocess
def square(x):
    return x * x
def add(q, l, v):
    with l:
        v.value += 1
    q.put(v.value > 0)
if __name__ == "__main__":
    with mp.get_context("fork").Pool(3) as p:
        print(p.map(square, range(10)))
    with mp.get_context("spawn").Pool(2) as p:
        print(p.map(square, range(4)))
    q, l, v = mp.Queue(), mp.Lock(), mp.Value("i", 0)
    ps = [mp.Process(target=add, args=(q, l, v)) for _ in range(4)]
    [p.start() for p in ps]
    r = [q.get() for _ in ps]
    [p.join() for p in ps]
    print(r, v.value, [p.exitcode for p in ps])
    a, b = mp.Pipe()
    a.send([1, 2])
    print(b.recv())
    print(subprocess.run("echo err >&2; exit 3", shell=True, capture_output=True))
    print(subprocess.check_output("cat | tr a-z A-Z", shell=True, input=b"hello"))
    p = subprocess.Popen(["sleep", "100"])
    p.terminate()
    print(p.wait(), subprocess.Popen(["sh", "-c", "kill -SEGV $$"]).wait())
    try:
        subprocess.run(["sleep", "60"], timeout=0.1)
    except subprocess.TimeoutExpired:
        print("timeout")
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError as e:
        print(e)
    signal.signal(signal.SIGALRM, lambda s, f: print("signal", s))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    print(subprocess.run(["sh", "-c", "pwd; umask"], cwd="/usr", umask=0o77, start_new_session=True, capture_output=True))
Y
exec python3 mp.py
