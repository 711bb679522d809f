#!/usr/bin/env python3
"""What users get while servers fail behind a gateway: `./gateway_faults.py [--users N] [--gateways G …] [phase …]`.

500 users, each with a kept connection, a session cookie and a request five times a second, one of seven a POST, in front of
three servers. In each phase something happens to one of them: it is killed, hangs (SIGSTOP), breaks every request off, is slow,
can't be reached over a wire that is silent (half-open), is drained and started again; or the gateway is told something:
reload, one server more and one less; or there are two gateways and one is killed. Counted are reads that failed, writes that
failed, writes that were done twice or were answered and not done, users who changed servers, sessions that were not there.
Everything is on 127.0.0.1, and is ended when this ends.
"""
import argparse, itertools, json, os, signal, socket, subprocess, sys, tempfile, time
from collections import Counter

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(HERE, "target/release/stayput-bench-faults")
STAYPUT = os.environ.get("STAYPUT", os.path.join(HERE, "../target/release/stayput"))
PEERS = os.path.join(HERE, "faults/peers")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Child:
    """A process that ends with this script."""
    all = []

    def __init__(self, *command, ready="ready", **options):
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        Child.all.append(self)
        while ready and not self.process.stdout.readline().startswith(ready):
            if self.process.poll() is not None:
                raise SystemExit(f"{command[0]} ended before it was ready")

    def tell(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        Child.all = [child for child in Child.all if child is not self]


class Server:
    """A server of the application, behind its wire."""

    def __init__(self, name, directory):
        self.name, self.file = name, os.path.join(directory, name)
        self.own, self.address = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.start()
        self.wire = Child(TOOL, "wire", self.address, self.own)

    def start(self):
        self.process = Child(TOOL, "server", self.name, self.own, self.file)

    def end(self, number=signal.SIGTERM):
        self.process.end(number)


class Gateway:
    """One of the three, with its way of being told things."""

    def __init__(self, servers):
        self.directory = tempfile.mkdtemp(prefix="faults-")
        self.address, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.servers, self.drained = list(servers), set()
        self.write()
        self.process = Child(*self.command(), ready=self.ready, stderr=open(os.path.join(self.directory, "log"), "w"),
                             env={**os.environ, "STAYPUT_LOG": "info"})
        until = time.time() + 10
        while socket.socket().connect_ex(("127.0.0.1", int(self.address.rsplit(":", 1)[1]))):
            assert time.time() < until, "the gateway doesn't listen"
            time.sleep(0.02)

    @property
    def path(self):
        return os.path.join(self.directory, self.file)

    def write(self):
        text = open(os.path.join(PEERS, self.file)).read()
        values = {"@DIR@": self.directory, "@LISTEN@": self.address, "@ADMIN@": self.admin,
                  "@SERVERS@": "\n".join(self.line(server) for server in self.servers)}
        for key, value in values.items():
            text = text.replace(key, value)
        open(self.path, "w").write(text)

    def add(self, server):
        self.servers.append(server)
        self.reload()

    def remove(self, server):
        self.servers.remove(server)
        self.reload()

    def drain(self, server):
        self.drained.add(server.name)
        self.reload()

    def undrain(self, server):
        self.drained.discard(server.name)
        self.reload()


class Nginx(Gateway):
    name, file, ready = "nginx", "nginx.conf", None

    def command(self):
        return "nginx", "-p", self.directory, "-c", self.path

    def line(self, server):
        down = " down" if server.name in self.drained else ""
        return f"        server {server.address} max_fails=1 fail_timeout=5s{down};"

    def reload(self):
        self.write()
        self.process.tell(signal.SIGHUP)


class HAProxy(Gateway):
    name, file, ready = "haproxy", "haproxy.cfg", None

    def command(self):
        return "haproxy", "-W", "-f", self.path

    def line(self, server):
        return f"    server {server.name} {server.address} cookie {server.name}"

    def reload(self):
        self.write()
        self.process.tell(signal.SIGUSR2)

    def state(self, server, state):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(os.path.join(self.directory, "socket"))
            control.sendall(f"set server pool/{server.name} state {state}\n".encode())
            control.recv(1000)

    def drain(self, server):
        self.state(server, "drain")

    def undrain(self, server):
        self.state(server, "ready")


class Stayput(Gateway):
    name, file, ready = "stayput", "stayput.toml", "ready"
    keyring = None

    def command(self):
        if Stayput.keyring:
            os.makedirs(os.path.join(self.directory, "data"), mode=0o700)
            subprocess.run(["cp", Stayput.keyring, os.path.join(self.directory, "data/keyring")], check=True)
        Stayput.keyring = os.path.join(self.directory, "data/keyring")
        return STAYPUT, "up", "--config", self.path

    def line(self, server):
        return f'    {{ name = "{server.name}", address = "{server.address}" }},'

    def tell(self, *words):
        subprocess.run([STAYPUT, "gateway", *words, "--config", self.path], check=True, stdout=subprocess.DEVNULL)

    def reload(self):
        self.write()
        self.tell("reload")

    def drain(self, server):
        self.tell("drain", server.name)

    def undrain(self, server):
        self.tell("undrain", server.name)


def kill(gateway, servers):
    servers[1].end(signal.SIGKILL)
    yield 6
    servers[1].start()
    yield 4


def hang(gateway, servers):
    servers[1].process.tell(signal.SIGSTOP)
    yield 10
    servers[1].process.tell(signal.SIGCONT)
    yield 5


def reset(gateway, servers):
    servers[1].process.tell(signal.SIGUSR1)
    yield 6
    servers[1].process.tell(signal.SIGHUP)
    yield 4


def slow(gateway, servers):
    servers[1].process.tell(signal.SIGUSR2)
    yield 6
    servers[1].process.tell(signal.SIGHUP)
    yield 4


def half_open(gateway, servers):
    servers[2].wire.tell(signal.SIGUSR1)
    yield 10
    servers[2].wire.tell(signal.SIGHUP)
    yield 5


def drain(gateway, servers):
    gateway.drain(servers[1])
    yield 4
    servers[1].end()
    yield 1
    servers[1].start()
    gateway.undrain(servers[1])
    yield 4


def reload(gateway, servers):
    for _ in range(5):
        gateway.reload()
        yield 1
    yield 2


def scale(gateway, servers):
    fourth = Server("s4", os.path.dirname(servers[0].file))
    gateway.add(fourth)
    yield 5
    gateway.remove(fourth)
    yield 5


def calm(gateway, servers):
    yield 5


PHASES = {"before": calm, "kill": kill, "hang": hang, "reset": reset, "slow": slow, "half-open": half_open, "drain": drain,
          "reload": reload, "scale": scale, "after": calm}
KINDS = {"nginx": Nginx, "haproxy": HAProxy, "stayput": Stayput}


def done(directory):
    """How often each operation was done, on whatever server."""
    files = (os.path.join(directory, name) for name in os.listdir(directory) if name != "answered")
    return Counter(line.strip() for file in files for line in open(file))


def held(process):
    """Resident kilobytes and open descriptors."""
    status = open(f"/proc/{process.pid}/status").read()
    return int(status.split("VmRSS:")[1].split()[0]), len(os.listdir(f"/proc/{process.pid}/fd"))


def play(kind, users, phases, gateways=1, minutes=0):
    directory = tempfile.mkdtemp(prefix="faults-servers-")
    servers = [Server(f"s{n}", directory) for n in (1, 2, 3)]
    Stayput.keyring = None
    running = [KINDS[kind](servers) for _ in range(gateways)]
    answered = os.path.join(directory, "answered")
    load = Child(TOOL, "users", str(users), answered, *(gateway.address for gateway in running))

    def two_gateways(_gateway, _servers):
        yield 3
        running[1].process.end(signal.SIGKILL)
        yield 7

    figures, holds, until = [], [], time.time() + minutes * 60
    names = phases if gateways == 1 else ["before", "gateway killed"]
    names = itertools.chain(names, itertools.takewhile(lambda _: time.time() < until, itertools.cycle(names)))
    # What a long run leaves behind is seen when nothing is the matter any more.
    names = itertools.chain(names, ["before"] if minutes else [])
    for name in names:
        # What failed in the phase before is trusted again by then.
        time.sleep(12 if holds else 0)
        print(f"  {kind}: {name}", file=sys.stderr, flush=True)
        load.process.stdin.write(f"{name}\n")
        load.process.stdin.flush()
        if holds:
            figures.append(json.loads(load.process.stdout.readline()))
        # Users come as new ones, and are shared out before anything happens.
        time.sleep(2)
        for seconds in (PHASES.get(name) or two_gateways)(running[0], servers):
            time.sleep(seconds)
        holds.append((time.time(), *held(running[0].process.process)))
        print(f"    {holds[-1][1]:,} kB, {holds[-1][2]} descriptors", file=sys.stderr, flush=True)
    load.process.stdin.close()
    figures.append(json.loads(load.process.stdout.readline()))
    load.process.wait()
    for child in list(Child.all):
        child.end()
    counts, told = done(directory), {line.strip() for line in open(answered)}
    first = next((one for one in holds if one[0] - holds[0][0] > 60), holds[0])
    print(f"{kind}: {first[1]} kB and {first[2]} descriptors, in the end {holds[-1][1]} and {holds[-1][2]}; "
          f"most {max(one[1] for one in holds)} and {max(one[2] for one in holds)}", file=sys.stderr)
    log = open(os.path.join(running[0].directory, "log")).read()
    assert "panicked" not in log, log
    figures[-1] |= {"twice": sum(n > 1 for n in counts.values()), "lost": sum(not counts[one] for one in told)}
    return figures


def row(kind, figures):
    reads, writes = (sum(figures[key].values()) for key in ("failed_reads", "failed_writes"))
    out = figures["failed_reads"].get("LoggedOut", 0) + figures["failed_writes"].get("LoggedOut", 0) + figures["cookies_deleted"]
    return (f"| {figures['phase']} | {kind} | {reads} of {figures['reads']:,} | {writes} of {figures['writes']:,} | {out} | "
            f"{figures['moved']} | {figures['p50']:.1f} | {figures['p99']:,.0f} | {figures['max']:,.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--gateways", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--minutes", type=float, default=0, help="go on with these phases for as long")
    parser.add_argument("phases", nargs="*", help=f"{', '.join(PHASES)}, two-gateways; default: all")
    args = parser.parse_args()
    wanted = args.phases or [*PHASES, "two-gateways"]
    phases = [name for name in wanted if name in PHASES]
    results = {}
    try:
        for kind in args.gateways:
            runs = play(kind, args.users, phases, minutes=args.minutes) if phases else []
            results[kind] = (runs, play(kind, args.users, [], gateways=2) if "two-gateways" in wanted else [])
    finally:
        for child in list(Child.all):
            child.end()
    print("| phase | gateway | reads failed | writes failed | logged out | changed servers | p50 ms | p99 | longest |")
    print("|---|---|---|---|---|---|---|---|---|")
    for part in (0, 1):
        for of_phase in zip(*(results[kind][part] for kind in results)):
            for kind, figures in zip(results, of_phase):
                print(row(kind, figures))
    for kind in results:
        last = [runs[-1] for runs in results[kind] if runs]
        print(f"{kind}: {sum(run['twice'] for run in last)} writes done twice, {sum(run['lost'] for run in last)} answered and not done")
        for run in (run for runs in results[kind] for run in runs if run["failed_reads"] or run["failed_writes"]):
            print(f"  {run['phase']}: reads {run['failed_reads']}, writes {run['failed_writes']}")


if __name__ == "__main__":
    main()
