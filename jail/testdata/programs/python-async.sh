# needs: python3
exec python3 - <<'Y'
import asyncio, threading, queue, concurrent.futures
async def f(n):
    await asyncio.sleep(0.01 * n)
    return n
async def main():
    print(await asyncio.gather(*[f(i) for i in range(5)]))
    p = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0], p.returncode)
    print(await asyncio.wait_for(asyncio.to_thread(lambda: 42), 30))
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.05)
    except asyncio.TimeoutError:
        print("timeout")
asyncio.run(main())
q, res, lock = queue.Queue(), [], threading.Lock()
def work():
    while (x := q.get()) is not None:
        with lock:
            res.append(x * x)
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]
[q.put(i) for i in range(500)]
[q.put(None) for _ in ts]
[t.join() for t in ts]
print(sum(res), len(res))
with concurrent.futures.ThreadPoolExecutor(4) as e:
    print(list(e.map(lambda x: x + 1, range(10))))
e = threading.Event()
threading.Timer(0.05, e.set).start()
print(e.wait(30), threading.Event().wait(0.01))
Y
