"""Probes, model list, tokens, metrics, and the OpenAPI description."""

from prometheus_client.parser import text_string_to_metric_families

from tests.server.test_bad_input import error

HI = [{"role": "user", "content": "hi"}]


def test_models(call):
    (card,) = call("GET", "/v1/models").json()["data"]
    assert card["id"] == "fake" and card["max_model_len"] == 256 and card["object"] == "model"
    assert call("GET", "/v1/models/fake").json() == card


def test_tokenize_text_and_chat(post):
    reply = post("/tokenize", {"prompt": "ab", "return_token_strs": True}).json()
    assert reply == {"tokens": [97, 98], "count": 2, "max_model_len": 256, "token_strs": ["a", "b"]}
    reply = post("/tokenize", {"messages": HI, "model": "fake"}).json()
    assert "".join(map(chr, reply["tokens"])) == "<user>hi<assistant>"
    error(post("/tokenize", {"prompt": 5}), 400, "prompt")
    error(post("/tokenize", {"messages": []}), 400, "messages")
    error(post("/tokenize", {}), 400, "prompt")
    error(post("/tokenize", [1]), 400)
    error(post("/tokenize", {"prompt": "x", "model": "other"}), 404, "model")


def test_detokenize(post):
    assert post("/detokenize", {"tokens": [97, 98]}).json() == {"prompt": "ab"}
    error(post("/detokenize", {"tokens": [97, 5000]}), 400, "tokens[1]")
    error(post("/detokenize", {"tokens": ["a"]}), 400, "tokens[0]")


def test_probes_follow_the_engine(call, engine):
    expected = {"ready": (200, 200), "draining": (200, 503), "restarting": (503, 503), "dead": (503, 503)}
    for state, codes in expected.items():
        engine.state = state
        assert (call("GET", "/health").status_code, call("GET", "/ready").status_code) == codes
        assert call("GET", "/live").status_code == 200
    assert "retry-after" not in call("GET", "/ready").headers  # dead: waiting does not help


def test_load_and_version(call):
    assert call("GET", "/load").json() == {
        "server_load": 0, "running": 0, "waiting": 0, "kv_cache_usage": 1 - 8 / 10,
    }  # fmt: skip
    assert call("GET", "/version").json()["version"]


def test_metrics_after_traffic(post, call):
    post("/v1/chat/completions", {"messages": HI, "n": 2})
    post("/v1/chat/completions", {"messages": HI, "stream": True, "max_tokens": 4})
    reply = call("GET", "/metrics")
    values = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            if sample.labels.get("tenant", "default") == "default":
                key = (sample.name, sample.labels.get("finished_reason"), sample.labels.get("le"))
                values[key] = sample.value
    prompt = len("<user>hi<assistant>")
    for prefix in ("penstock:", "vllm:"):
        assert values[(f"{prefix}request_success_total", "stop", None)] == 2
        assert values[(f"{prefix}request_success_total", "length", None)] == 1
        assert values[(f"{prefix}prompt_tokens_total", None, None)] == 3 * prompt
        assert values[(f"{prefix}time_to_first_token_seconds_count", None, None)] == 3
        assert values[(f"{prefix}request_generation_tokens_sum", None, None)] == 11 + 11 + 4
        assert values[(f"{prefix}inter_token_latency_seconds_count", None, None)] == 10 + 10 + 3
        assert values[(f"{prefix}request_params_n_sum", None, None)] == 3
        assert abs(values[(f"{prefix}kv_cache_usage_perc", None, None)] - 0.2) < 1e-9
        assert values[(f"{prefix}generation_tokens_total", None, None)] == 11 + 11 + 4
    assert values[("penstock:engine_generated_tokens_total", None, None)] == 11


def test_the_description_knows_the_bodies(call):
    schema = call("GET", "/openapi.json").json()
    body = schema["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    ref = body["content"]["application/json"]["schema"]["$ref"]
    fields = schema["components"]["schemas"][ref.rsplit("/", 1)[1]]["properties"]
    assert {"messages", "temperature", "slo", "top_k"} <= set(fields)
    assert "requestBody" in schema["paths"]["/tokenize"]["post"]


def test_banner_offers_requests_that_work(engine):
    import json
    import shlex

    from penstock.server.banner import Address, banner

    engine.tokenizer.has_chat_template = True
    text = banner(engine, "it's", Address("http://127.0.0.1:8123"))
    assert "weights 1 MiB" in text and "http://127.0.0.1:8123" in text
    command = text[text.index("curl") : text.index("or in Python")]
    words = shlex.split(command.replace("\\\n", " "))
    assert json.loads(words[-1])["model"] == "it's"
