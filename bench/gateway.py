#!/usr/bin/env python3
"""The gateway beside nginx and HAProxy, in one interleaved run: `./gateway.py [--seconds S] [--rounds N] [case …]`.

Cases: small, large, fresh (a connection per request), idle (memory of idle connections), many (1,000 upstreams and 100,000
clients), rate (latency at 70 % of nginx's most), count (instructions, under callgrind, in which no other load shows); without
any, all. Each gateway has one worker on core 0; upstreams and
load share core 1. What counts is the gateway's own CPU time a request: the medians of rounds in which all take turns.
Everything is on 127.0.0.0/8. What is left of a run when it is interrupted is ended, too.
"""
import argparse, json, os, shutil, signal, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = os.path.join(HERE, "target/release/stayput-bench-gateway")
STAYPUT = os.environ.get("STAYPUT", os.path.join(HERE, "../target/release/stayput"))
PEERS = ["nginx", "haproxy"]
GATEWAYS = [*PEERS, "stayput"]
TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS, CLIENTS = 64, 3000
MANY_UPSTREAMS, MANY_CLIENTS = 1000, 100_000
IDLE = 10_000


class Child:
    """A process that ends with this script."""

    living = []

    def __init__(self, core, *command, **options):
        self.process = subprocess.Popen(["taskset", "-c", str(core), *command], text=True, stdin=subprocess.PIPE, **options)
        self.living.append(self)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Upstreams(Child):
    def __init__(self, count, first):
        super().__init__(1, LOAD, "upstream", str(count), first, stdout=subprocess.PIPE)
        ready, *self.addresses = self.process.stdout.readline().split()
        assert ready == "ready" and len(self.addresses) == count


class Gateway(Child):
    FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "stayput": "stayput.toml"}
    SERVERS = {
        "nginx": lambda all: "\n".join(f"        server {one};" for one in all),
        "haproxy": lambda all: "\n".join(f"    server s{n} {one} cookie s{n}" for n, one in enumerate(all)),
        "stayput": lambda all: ", ".join(f'"{one}"' for one in all),
    }

    def __init__(self, name, port, upstreams, *wrapper):
        self.name, self.address = name, f"127.0.0.1:{port}"
        self.directory = tempfile.mkdtemp(prefix=f"bench-{name}-")
        file = os.path.join(self.directory, self.FILES[name])
        text = open(os.path.join(HERE, "gateway/peers", self.FILES[name])).read()
        for key, value in {"@DIR@": self.directory, "@LISTEN@": self.address,
                           "@SERVERS@": self.SERVERS[name](upstreams.addresses)}.items():
            text = text.replace(key, value)
        open(file, "w").write(text)
        command = {"nginx": ["nginx", "-c", file, "-p", self.directory],
                   "haproxy": ["haproxy", "-db", "-q", "-f", file],
                   "stayput": [STAYPUT, "up", "--config", file]}[name]
        super().__init__(0, *wrapper, *command, stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.directory, "log"), "w"))
        self.await_listener(port)

    def await_listener(self, port):
        wanted = f" 0100007F:{port:04X} 00000000:0000 0A "
        until = time.monotonic() + 30
        while wanted not in open("/proc/net/tcp").read():
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{self.name} does not listen: " + open(os.path.join(self.directory, "log")).read()[-2000:])
            time.sleep(0.02)

    def processes(self):
        """nginx has a master and a worker."""
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        return [self.process.pid, *map(int, children)]

    def cpu(self):
        """Seconds: all, to the nanosecond, and of these the user's, to the tick."""
        all = user = 0
        for pid in self.processes():
            for task in os.listdir(f"/proc/{pid}/task"):
                all += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) / 1e9
            user += int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11]) / TICK
        return all, user

    def resident(self):
        """Bytes of all processes, without what they share with files."""
        lines = (line for pid in self.processes() for line in open(f"/proc/{pid}/status") if line.startswith("RssAnon"))
        return sum(int(line.split()[1]) * 1024 for line in lines)

    def end(self):
        super().end()
        shutil.rmtree(self.directory, ignore_errors=True)


class Load(Child):
    def __init__(self, gateway, connections=CONNECTIONS, clients=CLIENTS, width=CONNECTIONS):
        super().__init__(1, LOAD, "load", gateway.address, str(connections), str(clients), str(width), stdout=subprocess.PIPE)
        self.gateway = gateway
        warm = self.answer()
        assert not warm["errors"], f"{gateway.name} does not serve: {warm}"

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the load for {self.gateway.name} broke off"
        return json.loads(line)

    def run(self, command):
        """A run's report, with the gateway's CPU µs a request."""
        before = self.gateway.cpu()
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        report = self.answer()
        report["cpu"], report["user"] = (
            (b - a) / max(1, report["requests"]) * 1e6 for a, b in zip(before, self.gateway.cpu()))
        report["busy"] = report["cpu"] * report["requests"] / report["seconds"] / 1e6
        report["rate"] = report["requests"] / report["seconds"]
        if report["errors"] or report["moved"]:
            print(f"note: {self.gateway.name}: {report['errors']} errors, {report['moved']} clients moved in '{command}'")
        return report


class Bench:
    def __init__(self, options):
        self.seconds, self.rounds, self.port = options.seconds, options.rounds, 12300

    def clear(self):
        while Child.living:
            Child.living.pop().end()

    def gateways(self, upstreams):
        found = []
        for name in GATEWAYS:
            self.port += 1
            found.append(Gateway(name, self.port, upstreams))
        return found

    def loads(self, upstreams=3, first="127.0.1.1:12200", **more):
        servers = Upstreams(upstreams, first)
        return {gateway.name: Load(gateway, **more) for gateway in self.gateways(servers)}

    def turns(self, loads, command):
        """The reports of each load: all take turns, round by round, in changing order."""
        names, reports = list(loads), {name: [] for name in loads}
        for turn in range(self.rounds):
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                reports[name].append(loads[name].run(command))
        return reports

    # The cases.

    def closed(self, title, command, aim):
        loads = self.loads()
        reports = self.turns(loads, f"{command[0]} {self.seconds} {command[1]}")
        calls = {name: system_calls(load, command) for name, load in loads.items()}
        print(f"\n{title} (aim: {aim} of the better peer, which is the one with the higher ratio)")
        print("| gateway | CPU µs | of it user | lowest, highest | of nginx', round by round | of HAProxy's | system calls | req/s | core 0 busy |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, runs in reports.items():
            cpu = [run["cpu"] for run in runs]
            of = [paired(runs, reports[peer]) for peer in PEERS]
            print(f"| {name} | {statistics.median(cpu):.2f} | {median(runs, 'user'):.2f} | {min(cpu):.2f}, {max(cpu):.2f} | {of[0]} | {of[1]} "
                  f"| {calls[name]} | {median(runs, 'rate'):,.0f} | {median(runs, 'busy'):.0%} |")

    def small(self):
        self.closed("small: answers of 200 bytes", ("for", "/small"), 0.85)

    def large(self):
        self.closed("large: answers of 64 KB", ("for", "/large"), 0.9)

    def fresh(self):
        self.closed("fresh: a connection per request", ("fresh", "/small"), 1.0)

    def idle(self):
        servers = Upstreams(3, "127.0.1.1:12200")
        print(f"\nidle: {IDLE:,} connections that have each carried one request (aim: 4,096 bytes)")
        print("| gateway | bytes each | before, MB | with them, MB |\n|---|---|---|---|")
        for gateway in self.gateways(servers):
            # What a busy gateway has anyway.
            Load(gateway).run("for 1 /small")
            before = gateway.resident()
            Load(gateway, IDLE, IDLE, CONNECTIONS)
            time.sleep(0.5)
            after = gateway.resident()
            print(f"| {gateway.name} | {(after - before) / IDLE:,.0f} | {before / 1e6:.1f} | {after / 1e6:.1f} |")

    def many(self):
        few = self.loads(clients=CONNECTIONS)
        many = self.loads(MANY_UPSTREAMS, "127.0.1.1:12201", clients=MANY_CLIENTS)
        both = {(name, size): load for size, loads in [("few", few), ("many", many)] for name, load in loads.items()}
        reports = self.turns(both, f"for {self.seconds} /small")
        print(f"\nmany: {MANY_UPSTREAMS:,} upstreams and {MANY_CLIENTS:,} clients against 3 and {CONNECTIONS} (aim: 1.10 times)")
        print("| gateway | few: CPU µs (user) | many: CPU µs (user) | ratio, round by round |\n|---|---|---|---|")
        for name in GATEWAYS:
            a, b = reports[name, "few"], reports[name, "many"]
            print(f"| {name} | {median(a, 'cpu'):.2f} ({median(a, 'user'):.2f}) | {median(b, 'cpu'):.2f} ({median(b, 'user'):.2f}) "
                  f"| {paired(b, a)} |")

    def count(self):
        print("\ncount: thousand user-space instructions a request, 200-byte answers (callgrind)")
        print("| gateway | kIr |\n|---|---|")
        for name in GATEWAYS:
            few, many = (self.instructions(name, requests) for requests in [1000, 11000])
            print(f"| {name} | {(many - few) / 10_000_000:.1f} |")
        few, many = (self.instructions("stayput", requests, MANY_UPSTREAMS, 10_000) for requests in [1000, 11000])
        print(f"| stayput, {MANY_UPSTREAMS:,} upstreams, 10,000 clients | {(many - few) / 10_000_000:.1f} |")

    def instructions(self, name, requests, upstreams=3, clients=CLIENTS):
        """Of a whole life in which so many requests were served beyond the warm-up."""
        with tempfile.TemporaryDirectory(prefix="bench-callgrind-") as out:
            os.chmod(out, 0o777)  # nginx' worker is nobody
            servers = Upstreams(upstreams, "127.0.1.1:12200")
            self.port += 1
            gateway = Gateway(name, self.port, servers, "valgrind", "-q", "--tool=callgrind",
                                 "--trace-children=yes", f"--callgrind-out-file={out}/%p")
            Load(gateway, clients=clients).run(f"count {requests} /small")
            self.clear()
            lines = (line for file in os.listdir(out) for line in open(os.path.join(out, file)))
            return sum(int(line.split()[1]) for line in lines if line.startswith("totals:"))

    def rate(self):
        loads = self.loads()
        most = statistics.median(loads["nginx"].run("for 1 /small")["rate"] for _ in range(self.rounds))
        reports = self.turns(loads, f"rate {self.seconds} /small {0.7 * most:.0f}")
        print(f"\nrate: requests at random moments, {0.7 * most:,.0f} a second, 70 % of nginx's {most:,.0f} (aim: p99 not above nginx's)")
        print("| gateway | p50 µs | p99 µs (lowest, highest) | p99.9 µs | CPU µs | core 0 busy |\n|---|---|---|---|---|---|")
        for name, runs in reports.items():
            p99 = [run["p99"] for run in runs]
            print(f"| {name} | {median(runs, 'p50'):.0f} | {statistics.median(p99):.0f} ({min(p99):.0f}, {max(p99):.0f}) "
                  f"| {median(runs, 'p999'):.0f} | {median(runs, 'cpu'):.2f} | {median(runs, 'busy'):.0%} |")


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def paired(runs, others):
    """The median ratio of runs to those of the same rounds, and the range."""
    ratios = sorted(run["cpu"] / other["cpu"] for run, other in zip(runs, others))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def system_calls(load, command):
    """Calls a request, counted by a tracepoint, which unlike strace doesn't slow the gateway down much; else "?"."""
    pids = ",".join(map(str, load.gateway.processes()))
    perf = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", pids]
    try:
        counter = subprocess.Popen(perf, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return "?"
    try:
        time.sleep(0.3)
        report = load.run(f"{command[0]} 1 {command[1]}")
    finally:
        counter.send_signal(signal.SIGINT)
    count = counter.communicate()[1].split(",")[0]
    return f"{int(count) / report['requests']:.2f}" if count.isdigit() else "?"


def require(*programs):
    packages = {"nginx": "nginx-light", "haproxy": "haproxy", "perf": "linux-perf", "valgrind": "valgrind", "taskset": "util-linux"}
    missing = [one for one in programs if not shutil.which(one, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; apt-get install {' '.join(packages[one] for one in missing)}")
    if not os.path.exists(LOAD):
        sys.exit("missing: the load; cargo build --release -p stayput-bench-gateway, in bench/")
    if not os.path.exists(STAYPUT):
        sys.exit("missing: stayput; cargo build --release -p stayput-cli, in the repository's root")


def main():
    cases = ["small", "large", "fresh", "idle", "many", "rate", "count"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*", metavar="case", default=cases)
    options = parser.parse_args()
    for case in options.cases:
        case in cases or parser.error(f"no such case: {case}; there are {', '.join(cases)}")
    os.environ["PATH"] += ":/usr/sbin"
    require("nginx", "haproxy", "taskset", *(["valgrind"] if "count" in options.cases else []))
    # Ctrl-C comes as an exception, and so does being ended, so that no child is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    for case in options.cases:
        try:
            getattr(bench, case)()
        finally:
            bench.clear()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
