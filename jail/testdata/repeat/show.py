# Prints what tends to differ from run to run.
import multiprocessing, os, random, resource, socket, subprocess, tempfile, threading, time, uuid

print("time", time.time(), time.monotonic(), time.perf_counter(), time.process_time(), time.thread_time(), time.ctime())
print("random", random.random(), random.SystemRandom().random(), os.urandom(8).hex(), uuid.uuid1(), uuid.uuid4())
print("hash", hash("abc"), hash(object()), id(object()), {str(i) for i in range(9)}, {object() for _ in range(5)})
print("process", os.getpid(), os.getppid(), os.getpgrp(), socket.gethostname(), os.cpu_count(), os.sched_getaffinity(0))
print("used", os.times(), resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
for d in ["/", "/etc", "/usr/bin", "/usr/lib", "/dev", "/proc", "/proc/self/fd", "/src"]:
    print("names", d, os.listdir(d))
print("temporary", [tempfile.mkstemp() for _ in range(3)], tempfile.mkdtemp(), os.listdir("/tmp"))
for f in ["/", "/tmp", "/etc", "/etc/passwd", "/dev/null", "/proc", "/proc/self/stat", "/src/show.py"]:
    print("stat", f, os.stat(f), os.statvfs(f))
print("streams", [os.fstat(i) for i in range(3)])
for f in ["cpuinfo", "loadavg", "meminfo", "mounts", "stat", "uptime", "version", "vmstat", "self/auxv", "self/limits", "self/maps",
          "self/mountinfo", "self/smaps", "self/smaps_rollup", "self/stat", "self/statm", "self/status",
          "sys/kernel/random/boot_id", "sys/kernel/random/uuid"]:
    print(f, open("/proc/" + f, "rb").read())

order = []

def work(n):
    for i in range(20):
        order.append((n, i))
        time.sleep(0.001 * (n % 3))
        sum(range(1000))

threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("threads", order)

shells = [subprocess.Popen(["sh", "-c", "echo -n %d $$; : > /tmp/%d; echo -n -" % (n, n)], stdout=2 - n // 8) for n in range(4)]
print("statuses", [p.wait() for p in shells], os.listdir("/tmp"))
if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print("pool", list(pool.imap_unordered(hex, range(50))))
print("used", os.times(), resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
print("time", time.time(), time.perf_counter())
