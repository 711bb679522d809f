#!/usr/bin/env python3
"""Instructions that a session layer adds to a request, under callgrind: total and without the crypto library.

Prints thousands of instructions a request, minus the same application without a layer. Instruction counts are stable
whatever else the machine does; callgrind's figures for the crypto library mislead (it runs code paths without vector
extensions), so they are given apart.
"""
import os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "target/release/stayput-bench")
FEW, MANY = 500, 4500
# The crypto library's own code; and what it copies and allocates where its Rust side is inlined into our callers: a
# context of HMAC for every tag.
CRYPTO = r"aws-lc|aws_lc|sha256|aesni|aes_|vpaes|ghash|gcm_|polyval|(memcpy|memset|malloc|free).*'stayput_core::cookie::tag"


def count(layer, mode, route, times):
    out = tempfile.NamedTemporaryFile(suffix=".callgrind")
    subprocess.run(["valgrind", "--tool=callgrind", "--separate-callers=1", f"--callgrind-out-file={out.name}", BINARY, layer, mode, route, str(times)],
                   check=True, capture_output=True)
    text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out.name], check=True, capture_output=True, text=True).stdout
    total, crypto = 0, 0
    for line in text.splitlines():
        match = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(.*)", line)
        if not match:
            continue
        n, name = int(match[1].replace(",", "")), match[2]
        if "PROGRAM TOTALS" in name:
            total = n
        elif re.search(CRYPTO, name):
            crypto += n
    return total, crypto


def per_request(layer, mode, route):
    few, many = count(layer, mode, route, FEW), count(layer, mode, route, MANY)
    return [(b - a) / (MANY - FEW) / 1000 for a, b in zip(few, many)]


def main():
    layers = sys.argv[1:] or ["tower", "stayput"]
    print(f"{'route':8}{'layer':16}{'kIr added':>10}{'without crypto':>16}")
    for route in ["/plain", "/read", "/write"]:
        for layer in layers:
            base, base_crypto = per_request(layer, "base", route)
            total, crypto = per_request(layer, "count", route)
            # The base's crypto is that of the library's start, which takes as long as it takes.
            print(f"{route:8}{layer:16}{total - base:10.2f}{total - base - (crypto - base_crypto):16.2f}")


main()
