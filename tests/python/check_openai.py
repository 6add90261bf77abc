#!/usr/bin/env python3
"""Talks to the embedded server by the official client: what it streams must be what that client understands.

usage: check_openai.py BASE_URL FIRST_TOKEN_S TOKENS_PER_SECOND
"""

import sys
import time

import openai

base, first_token, rate = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=30)
ask = {"model": "any-name", "messages": [{"role": "user", "content": "say something in five words"}]}

models = client.models.list().data
assert [m.id for m in models] == ["constant"] and models[0].object == "model", models
print(f"ok: models.list: {models[0].id}")

whole = client.chat.completions.create(**ask, max_tokens=7)
assert whole.object == "chat.completion" and whole.model == "any-name", whole
assert whole.choices[0].finish_reason == "length" and whole.choices[0].message.role == "assistant", whole
assert whole.usage.completion_tokens == 7 and whole.usage.prompt_tokens == 5 and whole.usage.total_tokens == 12, whole.usage
print(f"ok: a whole answer of {whole.usage.completion_tokens} tokens: {whole.choices[0].message.content!r}")

began, times, text, ends, usage, ids = time.monotonic(), [], "", [], None, set()
for chunk in client.chat.completions.create(**ask, max_completion_tokens=20, stream=True, stream_options={"include_usage": True}):
    assert chunk.object == "chat.completion.chunk" and chunk.model == "any-name", chunk
    ids.add((chunk.id, chunk.created))
    usage = chunk.usage or usage
    for choice in chunk.choices:
        if choice.delta.content:
            times.append(time.monotonic() - began)
            text += choice.delta.content
        ends += [choice.finish_reason] if choice.finish_reason else []
assert len(ids) == 1 and ends == ["length"] and len(times) == 20, (ids, ends, times)
assert usage.completion_tokens == 20, usage
assert text.startswith(whole.choices[0].message.content), text
# Never before its time; how late is the machine's business.
early = [(k, t) for k, t in enumerate(times) if t < first_token + k / rate]
assert not early, early
print(f"ok: a stream of {len(times)} tokens, the first after {times[0] * 1e3:.0f} ms, the last after {times[-1] * 1e3:.0f} ms")

plain = list(client.chat.completions.create(**ask, stream=True))
assert all(chunk.usage is None for chunk in plain), "usage that nobody asked for"
assert sum(bool(c.choices[0].delta.content) for c in plain) == 32, "the server's own number of tokens"
print("ok: without a limit and without usage")

try:
    client.chat.completions.create(model="m", messages=[])
    raise SystemExit("an empty chat was answered")
except openai.BadRequestError as error:
    assert "`messages` is empty" in str(error), error
    print(f"ok: a bad request is an openai.BadRequestError: {error.body['message']}")
