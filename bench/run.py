#!/usr/bin/env python3
"""CPU time that a session layer adds to a request, in one interleaved run: `./run.py [seconds] [rounds] [layer …]`.

Each layer serves the same application on one thread of its own process, pinned to core 0; wrk on core 1 sends requests
over 64 keep-alive connections with 64 distinct sessions. What is printed is the server's own CPU time a request (from
/proc), minus that of the same application without a layer, which gets the same requests in the same round: the median
over the rounds, and the ratio to the first layer. Needs wrk.
"""
import http.client, os, re, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "target/release/stayput-bench")
ROUTES = ["/plain", "/read", "/write"]
CONNECTIONS = 64
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, layer, port, store=""):
        self.port = port
        self.process = subprocess.Popen(["taskset", "-c", "0", BINARY, layer, "serve", f"127.0.0.1:{port}"],
                                        stdout=subprocess.PIPE, env=os.environ | {"BENCH_STORE": store})
        assert self.process.stdout.readline() == b"ready\n", layer

    def login(self):
        """The cookies that a browser has after a login and two reads."""
        connection, jar = http.client.HTTPConnection("127.0.0.1", self.port), {}
        for route in ["/login", "/read", "/read"]:
            cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
            connection.request("GET", route, headers={"Cookie": cookies} if jar else {})
            answer = connection.getresponse()
            answer.read()
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, value = cookie.split(";")[0].split("=", 1)
                jar.pop(name, None) if value == "" else jar.update({name: value})
        return "; ".join(f"{name}={value}" for name, value in jar.items())

    def load(self, script, route, seconds):
        return self.requests(script, route, seconds)[0]

    def requests(self, script, route, seconds):
        """CPU µs a request, and how many requests there were."""
        before = cpu(self.process.pid)
        out = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script,
                              f"http://127.0.0.1:{self.port}{route}"], check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in out and "Socket errors" not in out, out
        requests = int(re.search(r"(\d+) requests in", out)[1])
        return (cpu(self.process.pid) - before) / requests * 1e6, requests


def cpu(pid):
    """CPU seconds that a process has used."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def script(cookies):
    """Each request carries the next of the cookies."""
    file = tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False)
    file.write("local cookies = {%s}\nlocal n = 0\nfunction request()\n  n = n %% #cookies + 1\n"
               "  return wrk.format(nil, nil, {Cookie = cookies[n]})\nend\n" % ",".join(f'"{c}"' for c in cookies))
    file.close()
    return file.name


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    layers = sys.argv[3:] or ["tower", "stayput"]
    base = Server("none", 12100)
    servers = {layer: Server(layer, 12101 + i) for i, layer in enumerate(layers)}
    try:
        cookies = {layer: script([server.login() for _ in range(CONNECTIONS)]) for layer, server in servers.items()}
        added = {(layer, route): [] for layer in layers for route in ROUTES}
        for turn in range(rounds):
            for route in ROUTES:
                for layer in layers if turn % 2 == 0 else reversed(layers):
                    without = base.load(cookies[layer], route, seconds)
                    added[layer, route].append(servers[layer].load(cookies[layer], route, seconds) - without)
            print(f"round {turn + 1} of {rounds} done", file=sys.stderr)
        print(f"{'route':8}{'layer':16}{'µs added':>10}{'lowest':>9}{'highest':>9}{'ratio':>8}")
        for route in ROUTES:
            first = statistics.median(added[layers[0], route])
            for layer in layers:
                times = added[layer, route]
                middle = statistics.median(times)
                print(f"{route:8}{layer:16}{middle:10.2f}{min(times):9.2f}{max(times):9.2f}{middle / first:8.2f}")
    finally:
        for server in [base, *servers.values()]:
            server.process.terminate()
            server.process.wait()


if __name__ == "__main__":
    main()
