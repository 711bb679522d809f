#!/usr/bin/env python3
"""Where ten million clients are at home on a thousand servers, and who moves: Stayput beside nginx and HAProxy.

    bench/homes.py                      prints the table; takes some minutes and a gigabyte
    bench/homes.py docs/homes.svg       and draws it

The simulation is a test of the gateway's (`pool::simulation::crowd`); CLIENTS and SERVERS in the environment make it smaller.
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST = "a_thousand_servers_and_ten_million_clients"
COLUMNS = ["busiest, over the mean", "moved: one more", "a tenth more", "one less", "a tenth less", "a rolling deploy"]
# Which columns of the table those are, what they should be at least, and where the picture cuts them off.
PLACES, LEAST, MOST = [0, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 2], 4
WIDTH, HEIGHT, LEFT, TOP, STEP = 130, 14, 220, 64, 26
COLOURS = ["#2f7d57", "#8f9bb3"]


def main(args):
    command = ["cargo", "test", "--release", "-p", "stayput-gateway", "--lib", "--", "--ignored", "--nocapture", TEST]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [line for line in output.splitlines() if line.startswith("|") or " clients, " in line]
    print("\n".join(lines))
    if args:
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
        pathlib.Path(args[0]).write_text(svg(lines[0], rows))


def svg(title, rows):
    width, height = LEFT + len(COLUMNS) * (WIDTH + 16), TOP + len(rows) * STEP + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             f'<text x="4" y="18" font-weight="bold">{title}. 1 is what has to be (2 for a deploy); longer is worse</text>']
    for column, (name, place, least) in enumerate(zip(COLUMNS, PLACES, LEAST)):
        left = LEFT + column * (WIDTH + 16)
        parts.append(f'<text x="{left}" y="{TOP - 14}">{name}</text>')
        for line, row in enumerate(rows):
            parts += bar(float(row[1 + place]), left, TOP + line * STEP, COLOURS[line > 0])
        at = left + WIDTH * least / MOST
        parts.append(f'<path d="M{at:.1f} {TOP - 6}V{TOP + len(rows) * STEP - 4}" stroke="#d9482b" stroke-dasharray="3 2"/>')
    for line, row in enumerate(rows):
        parts.append(f'<text x="4" y="{TOP + line * STEP + 12}">{row[0].replace("`", "")}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def bar(value, left, top, colour):
    """A bar with its number; one that is cut off has an arrow."""
    length = WIDTH * min(value, MOST) / MOST
    text = f"{value:.2f}" if value < MOST else f"{value:.0f} →"
    inside = length > WIDTH * 0.6
    yield f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{HEIGHT}" fill="{colour}"/>'
    yield (f'<text x="{left + length - 4 if inside else left + length + 4:.1f}" y="{top + 11}" font-size="11" '
           f'text-anchor="{"end" if inside else "start"}" fill="{"#ffffff" if inside else "#333333"}">{text}</text>')


if __name__ == "__main__":
    main(sys.argv[1:])
