#!/usr/bin/env python3
"""CPU time a request of servers over one Redis, in one interleaved run: `./redis.py [seconds] [rounds]`.

As run.py does it, but the whole of each server's CPU time, and Redis' own (no persistence, on core 1 beside wrk) with the
number of its commands a request. "Sliding" means that the idle deadline moves with each request, which Stayput always
does, and tower-sessions by writing the session each time. "Added" is what the same application without any layer doesn't take. Needs wrk and redis-server.
"""
import os, socket, statistics, subprocess, sys, time

import run

LAYERS = ["tower-redis", "tower-redis-sliding", "stayput-redis", "stayput-redis-near"]
# What is measured: a route, the peer's layer, ours, and the aim for the ratio.
PAIRS = [
    ("/plain", "tower-redis", "stayput-redis", None),
    ("/read", "tower-redis", "stayput-redis", 0.75),
    ("/write", "tower-redis", "stayput-redis", 0.9),
    ("/read", "tower-redis-sliding", "stayput-redis", 0.5),
    ("/read", "tower-redis", "stayput-redis-near", None),
    ("/write", "tower-redis", "stayput-redis-near", None),
    ("/read", "tower-redis-sliding", "stayput-redis-near", None),
]
PORT = 12200


class Redis:
    def __init__(self):
        self.process = subprocess.Popen(["taskset", "-c", "1", "redis-server", "--port", str(PORT), "--bind", "127.0.0.1",
                                         "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.connection = socket.create_connection(("127.0.0.1", PORT))
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise SystemExit("redis-server doesn't start")

    def commands(self):
        self.connection.sendall(b"INFO stats\r\n")
        text = b""
        while b"\r\n\r\n" not in text and not text.endswith(b"\r\n\r\n"):
            text += self.connection.recv(65536)
            if text.startswith(b"$") and len(text) >= int(text[1:text.index(b"\r")]):
                break
        line = next(line for line in text.split() if line.startswith(b"total_commands_processed:"))
        return int(line.split(b":")[1])


def measure(redis, server, script, route, seconds):
    """CPU µs of the server and of Redis, and Redis' commands, a request."""
    before = run.cpu(redis.process.pid), redis.commands()
    own, requests = server.requests(script, route, seconds)
    after = run.cpu(redis.process.pid), redis.commands()
    return own, (after[0] - before[0]) / requests * 1e6, (after[1] - before[1]) / requests


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    redis, servers = Redis(), {}
    try:
        base, without = run.Server("none", 12220), {}
        for i, layer in enumerate(LAYERS):
            servers[layer] = run.Server(layer, 12201 + i, f"redis://127.0.0.1:{PORT}")
        scripts = {layer: run.script([server.login() for _ in range(run.CONNECTIONS)]) for layer, server in servers.items()}
        found = {}
        for turn in range(rounds):
            for route, peer, ours, _ in PAIRS:
                without.setdefault(route, []).append(base.load(scripts[ours], route, seconds))
                for layer in [peer, ours][:: 1 if turn % 2 == 0 else -1]:
                    times = measure(redis, servers[layer], scripts[layer], route, seconds)
                    found.setdefault((route, peer, ours, layer), []).append(times)
            print(f"round {turn + 1} of {rounds} done", file=sys.stderr)
        print(f"{'route':8}{'layer':22}{'µs':>8}{'lowest':>8}{'highest':>9}{'ratio':>7}{'aim':>6}{'added':>8}{'ratio':>7}{'Redis µs':>10}{'commands':>10}")
        for route, peer, ours, aim in PAIRS:
            nothing = statistics.median(without[route])
            theirs = statistics.median(own for own, _, _ in found[route, peer, ours, peer])
            for layer in [peer, ours]:
                own, store, commands = zip(*found[route, peer, ours, layer])
                middle = statistics.median(own)
                added = middle - nothing
                print(f"{route:8}{layer:22}{middle:8.2f}{min(own):8.2f}{max(own):9.2f}{middle / theirs:7.2f}{aim if aim and layer != peer else '':>6}"
                      f"{added:8.2f}{added / (theirs - nothing):7.2f}{statistics.median(store):10.2f}{statistics.median(commands):10.2f}")
    finally:
        for process in [redis.process, base.process, *(server.process for server in servers.values())]:
            process.terminate()
            process.wait()


main()
