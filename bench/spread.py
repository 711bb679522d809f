#!/usr/bin/env python3
"""How long a session that was ended on one server is still answered by two others, which just read it: `./spread.py`.

Three servers over one Redis, through a relay that can spoil the connections on which Redis tells of changes, and those alone.
Whoever has the session's cookies goes on asking the other two servers, from before the logout until they refuse. Milliseconds,
in Markdown. Needs redis-server; takes two minutes.
"""
import json, os, subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "target/release/stayput-bench")
TRIALS = {"told": "come, one logout at a time", "told-together": "come, 50 logouts at once",
          "silent": "cut: their connections fall silent before the logout", "untold": "refused by Redis from the start",
          "lost": "lost, while the connections seem well"}


def ms(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def main():
    print("| messages of changes | logouts × servers | after the logout was sent: median | p99 | worst | after it was answered: median | p99 | worst |")
    print("|---|---|---|---|---|---|---|---|")
    for how, words in TRIALS.items():
        out = subprocess.run([BINARY, "outage", "spread", how], check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(out.splitlines()[-1])
        times = " | ".join(ms(value) for value in found["sent"] + found["answered"])
        print(f"| {words} | {found['tries']} | {times} |", flush=True)


main()
