#!/usr/bin/env python3
"""Checks a run's token streams against the pace that the server states.

usage: check_streams.py RUN_JSON FIRST_TOKEN_S TOKENS_PER_SECOND PHASE...
Prints the output tokens of all phases, warm-up included.
"""

import json
import sys

path, first_token, rate, names = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
run = json.load(open(path))
for phase in run["phases"]:
    if phase["name"] not in names:
        continue
    ttft, itl = (phase[key]["p50"] / 1e6 for key in ("ttft_us", "itl_us"))
    words = f"{phase['name']}: ttft p50 {ttft * 1e3:.1f} ms, itl p50 {itl * 1e3:.2f} ms, mean {phase['itl_us']['mean'] / 1e3:.2f} ms"
    words += f", {phase['output_tokens']} tokens in {phase['ok']} answers, {phase['output_tokens_per_s']:.0f} tokens/s"
    print(words, file=sys.stderr)
    assert first_token <= ttft < first_token + 0.150, words
    assert 0.75 / rate <= itl <= 1.25 / rate, words
    # On an absolute grid a stream is as long as it should be, whatever its single gaps are.
    assert 0.95 / rate <= phase["itl_us"]["mean"] / 1e6 <= 1.25 / rate, words
    assert phase["itl_us"]["n"] == phase["output_tokens"] - phase["ok"], words
print(sum(phase["output_tokens"] for phase in run["phases"]))
