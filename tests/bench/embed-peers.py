"""Hits and searches of what people use, on the vectors that op-dbus-vectors makes from a seed.

embed-peers.py hits COUNT ROUNDS | search COUNT QUERIES: a line each, microseconds or milliseconds.
"""
import hashlib, os, shutil, sqlite3, subprocess, sys, tempfile, time
import numpy as np

DIM = 384
what, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(7)
folder = tempfile.mkdtemp(prefix="embed-peers-", dir="target")


def text(i):
    return f"Creating container {i:010} on node pve1 from golden image"


def key(t):
    return hashlib.sha256(b"model" + t.encode()).digest()


def line(name, times, note=""):
    t = np.sort(np.array(times))
    at = lambda share: t[int((len(t) - 1) * share)]
    unit, scale = ("us", 1e6) if what == "hits" else ("ms", 1e3)
    print(f"  {name:<44} {at(.5)*scale:>9.2f} {at(.99)*scale:>9.2f} {unit}  {note}", flush=True)


def attempt(name, measure):
    try:
        measure(name)
    except Exception as error:  # one that is not installed, or does not work here, is said and left out
        print(f"  {name:<44} not measured: {type(error).__name__}: {str(error)[:80]}", flush=True)


def timed(get, asked, name, note=""):
    for t in asked[: len(asked) // 10]:
        get(t)
    times = []
    for t in asked:
        begun = time.perf_counter()
        vector = get(t)
        times.append(time.perf_counter() - begun)
        assert len(vector) == DIM
    line(name, times, note)


def hits():
    vectors = rng.standard_normal((count, DIM), dtype=np.float32)
    asked = [text(int(i)) for i in rng.integers(0, count, rounds)]

    def sqlite(name):
        db = sqlite3.connect(f"{folder}/sqlite")
        db.execute("CREATE TABLE v (key BLOB PRIMARY KEY, value BLOB)")
        db.executemany("INSERT INTO v VALUES (?, ?)", ((key(text(i)), vectors[i].tobytes()) for i in range(count)))
        db.commit()
        get = lambda t: np.frombuffer(db.execute("SELECT value FROM v WHERE key = ?", (key(t),)).fetchone()[0], np.float32)
        timed(get, asked, name)

    def lmdb_(name):
        import lmdb
        env = lmdb.open(f"{folder}/lmdb", map_size=1 << 36)
        with env.begin(write=True) as txn:
            for i in range(count):
                txn.put(key(text(i)), vectors[i].tobytes())
        with env.begin(buffers=True) as txn:
            timed(lambda t: np.frombuffer(bytes(txn.get(key(t))), np.float32), asked, name)

    def diskcache_(name):
        import diskcache
        cache = diskcache.Cache(f"{folder}/diskcache", eviction_policy="none", size_limit=1 << 36)
        with cache.transact():
            for i in range(count):
                cache[key(text(i))] = vectors[i].tobytes()
        timed(lambda t: np.frombuffer(cache[key(t)], np.float32), asked, name)

    def langchain(name):
        try:
            from langchain_classic.embeddings import CacheBackedEmbeddings
            from langchain_classic.storage import LocalFileStore
        except ImportError:
            from langchain.embeddings import CacheBackedEmbeddings
            from langchain.storage import LocalFileStore
        from langchain_core.embeddings import Embeddings

        few = min(count, 10_000)

        class Given(Embeddings):
            known = {text(i): i for i in range(few)}
            calls = 0

            def embed_documents(self, texts):
                Given.calls += 1
                return [vectors[self.known[t]].tolist() for t in texts]

            def embed_query(self, t):
                return self.embed_documents([t])[0]

        backed = CacheBackedEmbeddings.from_bytes_store(
            Given(), LocalFileStore(f"{folder}/langchain"), namespace="model", key_encoder="sha256")
        backed.embed_documents([text(i) for i in range(few)])
        before = Given.calls
        timed(lambda t: backed.embed_documents([t])[0], [text(int(i)) for i in rng.integers(0, few, rounds // 20)], name, f"{few} vectors")
        assert Given.calls == before, "it computed what it should have kept"

    def redis_(name):
        import redis
        server = shutil.which("redis-server")
        if not server:
            raise FileNotFoundError("redis-server is not installed")
        socket = os.path.abspath(f"{folder}/redis.sock")
        process = subprocess.Popen([server, "--port", "0", "--unixsocket", socket, "--save", ""], stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(unix_socket_path=socket)
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            pipe = client.pipeline(transaction=False)
            for i in range(count):
                pipe.set(key(text(i)), vectors[i].tobytes())
                if i % 1000 == 999:
                    pipe.execute()
            pipe.execute()
            timed(lambda t: np.frombuffer(client.get(key(t)), np.float32), asked[: rounds // 4], name)
        finally:
            process.terminate()
            process.wait()

    attempt("python sqlite3, BLOB key", sqlite)
    attempt("lmdb", lmdb_)
    attempt("diskcache", diskcache_)
    attempt("redis, unix socket", redis_)
    attempt("LangChain CacheBackedEmbeddings", langchain)


def search():
    centres = rng.standard_normal((100, DIM), dtype=np.float32)
    vectors = rng.standard_normal((count, DIM), dtype=np.float32)
    vectors += centres[np.arange(count) % 100]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[rng.integers(0, count, rounds)] + 0.03 * rng.standard_normal((rounds, DIM), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    def run(name, find):
        find(queries[0])
        times = []
        right = 0
        for query in queries:
            begun = time.perf_counter()
            found = find(query)
            times.append(time.perf_counter() - begun)
            right += len(set(int(i) for i in found) & exact[query.tobytes()])
        line(name, times, f"recall {right / (10 * rounds):.3f}")

    exact = {q.tobytes(): set(np.argpartition(-(vectors @ q), 10)[:10].tolist()) for q in queries}

    def numpy_(name):
        run(name, lambda q: np.argpartition(-(vectors @ q), 10)[:10])

    def faiss_(name):
        import faiss
        index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:20_000])
        index.add(vectors)
        run(name, lambda q: index.search(q[None], 10)[1][0])

    def usearch_(name):
        from usearch.index import search as exact_search, MetricKind
        small = (vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True)).astype(np.int8)
        run(name, lambda q: exact_search(small, (q * 127 / np.abs(q).max()).astype(np.int8), 10, MetricKind.Cos, exact=True).keys)

    def sqlite_vec_(name):
        import apsw
        import sqlite_vec
        db = apsw.Connection(":memory:")  # Python's own SQLite may be built without extensions
        db.enable_load_extension(True)
        sqlite_vec.load(db)
        db.execute(f"CREATE VIRTUAL TABLE v USING vec0(e int8[{DIM}])")
        scale = 127 / np.abs(vectors).max()
        small = (vectors * scale).astype(np.int8)
        db.executemany("INSERT INTO v(rowid, e) VALUES (?, vec_int8(?))", ((i, small[i].tobytes()) for i in range(count)))
        ask = "SELECT rowid FROM v WHERE e MATCH vec_int8(?) ORDER BY distance LIMIT 10"
        run(name, lambda q: [row[0] for row in db.execute(ask, ((q * scale).clip(-127, 127).astype(np.int8).tobytes(),))])

    attempt("numpy f32", numpy_)
    attempt("faiss SQ8", faiss_)
    attempt("usearch int8, exact", usearch_)
    attempt("sqlite-vec int8", sqlite_vec_)


try:
    {"hits": hits, "search": search}[what]()
finally:
    shutil.rmtree(folder, ignore_errors=True)
