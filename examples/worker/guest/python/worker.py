# A worker in Python: a request that begins with "!" makes it misbehave, as a bug in
# it would let an attacker do.
import os
import _socket


def spin():
    while True:
        pass


def big():
    return b"x" * (64 << 20)


MISDEEDS = {
    b"!passwd": lambda: os.read(os.open("/etc/passwd", os.O_RDONLY), 65536),
    b"!socket": lambda: bytes(str(_socket.socket()), "ascii"),
    b"!fork": lambda: bytes(str(os.fork()), "ascii"),
    b"!spin": spin,
    b"!twice": lambda: os.write(1, b"once") and b"twice",
    b"!big": big,
    b"!crash": lambda: 1 // 0,
    b"!exit": lambda: os._exit(3),
}

while request := os.read(0, 64 << 10):
    os.write(1, MISDEEDS[request]() if request in MISDEEDS else request.upper())
os._exit(0)
