"""What others do with the same records, durably, and how fast op-embed answers meanwhile: for audit.sh.

audit.py sqlite DB N GROUP    N records of 300 bytes in transactions of GROUP (WAL, synchronous=FULL)
audit.py hits SOCKET SECONDS  asks op-embed for kept phrases, one after the other: p50 and p99 in microseconds
"""

import json, socket, sqlite3, sys, time


def sqlite(path, count, group):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table records (number integer primary key, text text)")
    text = "x" * 290
    begun = time.perf_counter()
    for first in range(0, count, group):
        connection.execute("begin")
        connection.executemany("insert into records values (?, ?)", ((n, text) for n in range(first, first + group)))
        connection.execute("commit")
    return {"per_second": count / (time.perf_counter() - begun)}


def hits(path, seconds):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    stream = connection.makefile("rw")
    phrases = [f"Set location to rack {n}" for n in range(50)]

    def ask(phrase):
        begun = time.perf_counter()
        stream.write(json.dumps({"id": 1, "text": phrase}) + "\n")
        stream.flush()
        line = stream.readline()
        return (time.perf_counter() - begun) * 1e6, json.loads(line)

    for phrase in phrases:
        ask(phrase)
    times, misses, end = [], 0, time.time() + seconds
    while time.time() < end:
        took, answer = ask(phrases[len(times) % 50])
        times.append(took)
        misses += not answer.get("cached")
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "count": len(times), "misses": misses}


command, path, *numbers = sys.argv[1:]
print(json.dumps({"sqlite": sqlite, "hits": hits}[command](path, *map(int, numbers))))
