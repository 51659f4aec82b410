# needs: python3
exec python3 - <<'Y'
import json, sqlite3, hashlib, os, re, zlib, lzma, tempfile, mmap, ctypes, csv, decimal, ssl
print(json.dumps({"a": [1, 2, {"b": None}]}, sort_keys=True), ssl.OPENSSL_VERSION)
c = sqlite3.connect(":memory:")
c.execute("create table t(a, b)")
c.executemany("insert into t values(?, ?)", [(i, i * i) for i in range(1000)])
print(c.execute("select sum(b) from t").fetchone(), hashlib.sha256(b"x" * 1000).hexdigest())
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, "f")
    open(p, "w").write("hello\n" * 10)
    print(os.stat(p).st_size, sorted(os.listdir(d)))
    os.rename(p, p + "2")
    os.symlink("f2", p)
    with open(p, "rb") as f:
        m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        print(os.readlink(p), m[:5], len(m))
print(ctypes.CDLL(None).strlen(b"hello"), len(lzma.compress(b"a" * 1000)), zlib.crc32(b"x"))
print(len(ssl.create_default_context().get_ca_certs()) > 0)
Y
