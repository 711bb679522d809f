#!/usr/bin/env python3
"""Memory a session takes in Redis, over a million of them: `./redis_memory.py [sessions]`.

Each kind has a redis-server of its own, without persistence, and is put there by the store that would put it there
(src/fill.rs): tower-sessions' sessions of the same content; Stayput's very records, under tower-sessions' keys, by a plain SET with
an expiry; Stayput's anonymous sessions; and those of subjects, with the index, for one and for several sessions each. What is
printed is `used_memory` a session when all are there and nothing is being rehashed any more. Needs redis-server.
"""
import os, socket, subprocess, sys, time

BINARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "target/release/stayput-bench")
PORT = 12250
# A kind, its name, and the plain one that it is compared with.
KINDS = [("tower", "tower-sessions' own", ""), ("plain", "plain SET, anonymous", ""), ("anonymous", "Stayput, anonymous", "plain"),
         ("plain-subject", "plain SET, logged in", ""), ("1", "Stayput, one session a user", "plain-subject"),
         ("3", "Stayput, three sessions a user", "plain-subject")]


class Redis:
    def __enter__(self):
        self.process = subprocess.Popen(["redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                                        stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.connection = socket.create_connection(("127.0.0.1", PORT))
                self.answers = self.connection.makefile("rb")
                return self
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise SystemExit("redis-server doesn't start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def info(self, name):
        self.connection.sendall(b"INFO\r\n")
        length = int(self.answers.readline()[1:])
        text = self.answers.read(length + 2).decode()
        return next((line.split(":", 1)[1] for line in text.splitlines() if line.startswith(name + ":")), "")

    def settled(self):
        """Its memory, when nothing moves any more: tables grow in steps for a while after the last write."""
        last, since = int(self.info("used_memory")), time.monotonic()
        while time.monotonic() - since < 2:
            time.sleep(0.1)
            now = int(self.info("used_memory"))
            if abs(now - last) > 100_000:
                last, since = now, time.monotonic()
        return last


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    found = {}
    print(f"{count} sessions, Redis {subprocess.run(['redis-server', '--version'], capture_output=True, text=True).stdout.split()[2]}")
    print(f"{'':34}{'bytes':>8}{'of plain':>10}{'of theirs':>11}{'keys':>10}")
    for kind, name, plain in KINDS:
        with Redis() as redis:
            before = redis.settled()
            environment = os.environ | {"BENCH_STORE": f"redis://127.0.0.1:{PORT}"}
            subprocess.run([BINARY, "fill", kind, str(count)], check=True, env=environment)
            found[kind] = (redis.settled() - before) / count
            keys = redis.info("db0").split(",")[0].removeprefix("keys=")
            ratio = lambda other: f"{found[kind] / found[other]:.3f}" if other in found else ""
            print(f"{name:34}{found[kind]:8.1f}{ratio(plain):>10}{ratio('tower'):>11}{keys:>10}", flush=True)


main()
