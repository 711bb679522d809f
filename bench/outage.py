#!/usr/bin/env python3
"""What users experience while Redis is killed, hung or cut off, by session layer: `./outage.py [--seconds 20] [--layers a,b]`.

Each drill has a Redis of its own (every write synced to disk), three servers behind a proxy that can swallow what it should pass
on, and 200 users who click every 100 to 200 ms whatever happens (src/outage/users.rs). A layer named `…@sticky` has each user
on one server; otherwise every request goes to any of them. Prints tables in Markdown, and writes a picture.

`--outages N` has N short outages in a row instead, of all kinds by turns, and prints what the servers take of the machine.
Takes no wrk; needs redis-server.
"""
import argparse, json, os, subprocess, sys

import picture

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "target/release/stayput-bench")
FAULTS = ["killed", "hung", "partitioned"]
LAYERS = ["tower-sessions", "tower-sessions-tuned", "actix-session", "stayput-refuse", "stayput-read_only", "stayput-read_only@sticky",
          "stayput-lifeboat"]
NAMES = {"tower-sessions": "tower-sessions", "tower-sessions-tuned": "tower-sessions, tuned", "actix-session": "actix-session",
         "stayput-refuse": "Stayput `refuse`", "stayput-read_only": "Stayput `read_only`", "stayput-lifeboat": "Stayput `lifeboat`"}


def drill(layer, faults, options, seconds, before, after):
    """One run of the drill, as it reports it."""
    name, _, place = layer.partition("@")
    settings = {"BENCH_USERS": options.users, "BENCH_SECONDS": seconds, "BENCH_BEFORE": before, "BENCH_AFTER": after,
                "BENCH_STICKY": int(place == "sticky" or options.sticky)}
    process = subprocess.run([BINARY, "outage", "drill", name, ",".join(faults)], stdout=subprocess.PIPE, text=True,
                             env=os.environ | {key: str(value) for key, value in settings.items()})
    if process.returncode:
        raise SystemExit(f"the drill of {layer} failed")
    print(f"{layer} {','.join(faults)[:40]}: done", file=sys.stderr)
    return json.loads(process.stdout.splitlines()[-1])


def title(layer):
    name, _, place = layer.partition("@")
    return NAMES[name] + (", sticky" if place else "")


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def header(*cells):
    row(*cells)
    row(*("---" for _ in cells))


def of(failed, done):
    """How many failed of how many, and the share."""
    total = failed + done
    return f"{failed} of {total}" + (f" ({100 * failed / total:.0f} %)" if failed else "")


def ms(value):
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def back(report):
    def one(seconds):
        return "never" if seconds is None else f"{seconds:.2f}"
    return f"{one(report['reads_back'])}, {one(report['writes_back'])}"


def failures(found):
    header("Redis", "layer", "failed reads, first 1.5 s", "failed reads, later", "failed writes", "failed after its return", "reads, writes back after s",
           "logged out", "cookies deleted", "acknowledged, lost", "doubled")
    for (fault, layer), report in found.items():
        phases = report["phases"]
        early, late, after = phases["beginning"], phases["later"], phases["after"]
        failed_after = after["failed_reads"] + after["failed_writes"]
        row(fault, title(layer), of(early["failed_reads"], early["reads"]), of(late["failed_reads"], late["reads"]),
            of(early["failed_writes"] + late["failed_writes"], early["writes"] + late["writes"]),
            of(failed_after, after["reads"] + after["writes"]), back(report),
            f"{report['logged_out']}, stayed {report['stayed_logged_out']}" if report["logged_out"] else 0, report["cookies_deleted"],
            f"{report['acknowledged']}, {report['lost']}", report["doubled"])


def latencies(found):
    """Of all requests that were sent, those that failed included."""
    header("Redis", "layer", "before", "first 1.5 s", "later", "later to before, p99", "after its return")
    for (fault, layer), report in found.items():
        phases = report["phases"]
        before, early, late, after = (" / ".join(ms(phases[phase][which]) for which in ["p50", "p99", "worst"])
                                      for phase in ["before", "beginning", "later", "after"])
        row(fault, title(layer), before, early, late, f"{phases['later']['p99'] / phases['before']['p99']:.1f}", after)


def sanity(found):
    """What should not have happened in any drill, and how the drill itself did."""
    for key, report in found.items():
        before = report["phases"]["before"]
        troubles = {"failed before": before["failed_reads"] + before["failed_writes"], "reads that went back": report["went_back"]}
        for what, count in troubles.items():
            if count:
                print(f"{key}: {count} {what}")
    print(f"The drill was late by at most {max(report['drill_late_ms'] for report in found.values()):.0f} ms.")


def many(options):
    """Resident megabytes and descriptors of the three servers, after some of many outages."""
    faults = [FAULTS[i % len(FAULTS)] for i in range(options.outages)]
    header("layer", "outages", "MB of the three servers", "descriptors", "failed reads", "logged out", "acknowledged, lost", "doubled")
    for layer in options.layers:
        report = drill(layer, faults, options, options.seconds, 5, 3)
        phases = report["phases"]
        reads = [sum(phases[phase][which] for phase in phases) for which in ["failed_reads", "reads"]]
        for after in sorted({0, 2, *(options.outages * quarter // 4 for quarter in [1, 2, 3, 4])}):
            sizes = report["sizes"][after]
            row(title(layer), after, ", ".join(f"{kilobytes / 1024:.1f}" for kilobytes, _ in sizes),
                ", ".join(str(descriptors) for _, descriptors in sizes),
                *([of(*reads), report["logged_out"], f"{report['acknowledged']}, {report['lost']}", report["doubled"]]
                  if after == options.outages else [""] * 4))


def kept(directory, fault, layer):
    """The report of a drill that was done before, if it was kept."""
    path = directory and os.path.join(directory, f"{fault}-{layer}.json")
    if path and os.path.exists(path):
        with open(path) as file:
            return json.load(file)


def keep(directory, fault, layer, report):
    if directory:
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, f"{fault}-{layer}.json"), "w") as file:
            json.dump(report, file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--layers", type=lambda text: text.split(","), default=LAYERS)
    parser.add_argument("--faults", type=lambda text: text.split(","), default=FAULTS)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--sticky", action="store_true")
    parser.add_argument("--outages", type=int)
    parser.add_argument("--picture", help="where to write it, as SVG")
    parser.add_argument("--keep", help="a directory for the reports, from which drills that were done before are taken")
    options = parser.parse_args()
    if options.outages:
        return many(options)
    before, after = min(7, options.seconds), min(8, 2 + options.seconds)
    found = {}
    for fault in options.faults:
        for layer in options.layers:
            found[fault, layer] = kept(options.keep, fault, layer) or drill(layer, [fault], options, options.seconds, before, after)
            keep(options.keep, fault, layer, found[fault, layer])
    failures(found)
    print()
    latencies(found)
    print()
    sanity(found)
    if options.picture:
        with open(options.picture, "w") as file:
            file.write(picture.svg(found, title))


main()
