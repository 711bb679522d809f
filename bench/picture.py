"""The picture of the drill: what became of the requests that were sent in each fifth of a second, a row for each layer."""

import statistics

WIDTH, HEIGHT, GAP, LEFT, TOP = 330, 46, 16, 190, 46
# Reads and writes that were served, and what failed: told apart without colours, too, by how light they are.
SERVED, WRITTEN, FAILED = "#8fc7a6", "#2f7d57", "#d9482b"


def svg(found, title):
    faults = list(dict.fromkeys(fault for fault, _ in found))
    layers = list(dict.fromkeys(layer for _, layer in found))
    width = LEFT + len(faults) * (WIDTH + GAP)
    height = TOP + len(layers) * (HEIGHT + GAP) + 28
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *legend()]
    for column, fault in enumerate(faults):
        left = LEFT + column * (WIDTH + GAP)
        parts.append(f'<text x="{left}" y="{TOP - 8}" font-weight="bold">Redis {fault}</text>')
        for line, layer in enumerate(layers):
            parts += cell(found[fault, layer], left, TOP + line * (HEIGHT + GAP))
        parts.append(seconds(found[fault, layers[-1]], left, height - 22))
    for line, layer in enumerate(layers):
        parts.append(f'<text x="4" y="{TOP + line * (HEIGHT + GAP) + HEIGHT / 2 + 4}">{title(layer).replace("`", "")}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def legend():
    at = 4
    for colour, text in [(SERVED, "reads served"), (WRITTEN, "writes served"), (FAILED, "failed"), ("#e8e8ee", "the store is away")]:
        yield f'<rect x="{at}" y="8" width="11" height="11" fill="{colour}"/><text x="{at + 16}" y="18">{text}</text>'
        at += 32 + 7 * len(text)


def cell(report, left, top):
    """The background where the store is away, and three areas on top of each other."""
    tenths = report["timeline"][:-1]
    bins = [[a + b for a, b in zip(*pair)] for pair in zip(tenths[::2], tenths[1::2])]
    # What the drill caught up with after a pause of the machine sticks out no further than this.
    most = 1.15 * statistics.median(sum(counts) for counts in bins)
    step = WIDTH / len(bins)
    for begin, end in report["outages"]:
        yield f'<rect x="{left + begin * 5 * step:.1f}" y="{top - 4}" width="{(end - begin) * 5 * step:.1f}" height="{HEIGHT + 8}" fill="#e8e8ee"/>'
    # Each to the ground, the lowest last: half the bytes of areas between two edges.
    for kinds, colour in [((0, 1, 2), FAILED), ((0, 1), SERVED), ((1,), WRITTEN)]:
        yield f'<path fill="{colour}" d="{area([min(1, sum(counts[kind] for kind in kinds) / most) for counts in bins], step, left, top)}"/>'


def area(shares, step, left, top):
    """Steps of these heights, in tenths of a pixel, so that nothing drifts."""
    path, before, at = [f"M{left} {top + HEIGHT}"], 0, 0
    for i, share in enumerate(shares):
        height, end = round(share * HEIGHT), round((i + 1) * step * 10)
        path.append((f"v{before - height}" if height != before else "") + f"h{(end - at) / 10:g}")
        before, at = height, end
    return "".join(path) + f"V{top + HEIGHT}Z"


def seconds(report, left, top):
    whole = report["seconds"]
    marks = range(0, int(whole) + 1, 10 if whole > 15 else 2)
    return "".join(f'<text x="{left + WIDTH * mark / whole:.0f}" y="{top + 14}" fill="#666666">{mark} s</text>' for mark in marks)
