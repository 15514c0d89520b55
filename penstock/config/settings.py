"""Every public knob, as frozen structs. Files, CLI flags and the docs are generated from these fields.

Each field carries a description and, where it applies, a range (``ge``/``le``...) and a unit
(``extra={"unit": ...}``); the attribute docstring of a plain dataclass would be lost at run time.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


def _doc(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


def _unit(text: str, unit: str, **limits: Any) -> Meta:
    return Meta(description=text, extra={"unit": unit}, **limits)


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which model runs, and how its weights are held."""

    model: Annotated[
        str,
        _doc(
            "Local folder or hub name of the model, or the name of a shipped one (`penstock zoo list`); "
            "empty runs the bundled chat model"
        ),
    ] = ""
    served_model_name: Annotated[str, _doc("Name clients use for the model; empty takes the folder's")] = ""
    tokenizer: Annotated[str, _doc("Tokenizer folder or hub name; empty takes the model's")] = ""
    revision: Annotated[str, _doc("Branch, tag or commit on the hub; empty takes the default")] = ""
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], _doc("Type of weights and activations")
    ] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], _doc("Where the model runs")] = "auto"
    load_format: Annotated[
        Literal["auto", "safetensors", "dummy"], _doc("dummy draws random weights of the right shapes")
    ] = "auto"
    max_model_len: Annotated[
        int, _unit("Longest sequence, prompt and output; 0 takes the model's own limit", "tokens", ge=0)
    ] = 0
    seed: Annotated[int, _doc("Seed of dummy weights and of requests that bring none", ge=0)] = 0
    chat_template: Annotated[str, _doc("Jinja file to use in place of the model's chat template")] = ""
    batch_invariant: Annotated[
        bool, _doc("Fixed reductions: a request's output never depends on its batch-mates (slower)")
    ] = False
    attention: Annotated[
        Literal["auto", "torch", "native", "triton"],
        _doc("Attention backend; auto chooses by device, and native beside native kernels"),
    ] = "auto"
    kernels: Annotated[
        Literal["auto", "native", "torch"],
        _doc(
            "Dense operations on CPU: the compiled kernels, or torch's; auto takes the kernels where it can"
        ),
    ] = "auto"
    quantization: Annotated[
        Literal["none", "int8", "int4"],
        _doc("Round weights to this on loading; int4 keeps the output head at 8 bits"),
    ] = "none"
    quantization_group: Annotated[
        int, _unit("Inputs that share a scale under int4 (32, 64 or 128)", "inputs", ge=32, le=128)
    ] = 32
    packed_cache: Annotated[
        str,
        _doc(
            "Folder that keeps weights packed for the CPU kernels, so that later starts map them; auto is "
            "penstock/packed in the user's cache folder, for weights of 64 MiB and more; off keeps none"
        ),
    ] = "auto"
    packed_cache_bytes: Annotated[
        int, _unit("Most that packed_cache may take; the longest unused are deleted first", "bytes", ge=1)
    ] = 32 * 1024 * 1024 * 1024
    cuda_graphs: Annotated[bool, _doc("Replay decode steps as CUDA graphs (CUDA only)")] = True
    cost: Annotated[
        str,
        _doc(
            "Step times of this model, for policies that ask: fit:FILE.json of `penstock calibrate`, or "
            "MODEL@CARD; empty knows none"
        ),
    ] = ""
    ranker: Annotated[
        str,
        _doc(
            "Folder of a length ranker (`penstock rank train`) that scores prompts for the order ltr; "
            "bundled: the one shipped for the bundled model"
        ),
    ] = ""


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The paged KV cache."""

    kv_cache_dtype: Annotated[
        Literal["auto", "int8"], _doc("auto stores the model's dtype; int8 quantises")
    ] = "auto"
    block_size: Annotated[
        int, _unit("Page size; 0 takes 32 on CPU and 16 on CUDA", "tokens", ge=0, le=256)
    ] = 0
    memory_fraction: Annotated[
        float, _doc("Share of the device's free memory that weights, KV and activations may take", gt=0, le=1)
    ] = 0.6
    kv_cache_memory_bytes: Annotated[
        int, _unit("KV budget; 0 derives it from memory_fraction", "bytes", ge=0)
    ] = 0
    enable_prefix_caching: Annotated[bool, _doc("Reuse the KV of shared prompt prefixes")] = True


class ScheduleConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler's budgets and its policies, one string per slot."""

    max_num_seqs: Annotated[int, _unit("Sequences running at once", "sequences", ge=1, le=65536)] = 64
    max_num_batched_tokens: Annotated[
        int, _unit("Token budget of one step; 0 takes 512 on CPU and 2048 on CUDA", "tokens", ge=0)
    ] = 0
    order: Annotated[str, _doc("Who goes first, e.g. 'fcfs' or 'priority > fcfs'")] = "priority > fcfs"
    shape: Annotated[
        str,
        _doc("Which mix a step runs: 'chunked', 'prefill-first', 'splitfuse(768)', 'slo' or 'layered(16)'"),
    ] = "chunked"
    preempt: Annotated[str, _doc("Which victim gives way: 'newest' or 'least-loss'")] = "least-loss"
    evict: Annotated[str, _doc("Which cached prefix goes first: 'lru'")] = "lru"
    admit: Annotated[str, _doc("Accept or turn away: 'unlimited' or 'queue-bound(1024)'")] = (
        "queue-bound(4096)"
    )
    reserve: Annotated[str, _doc("Room that a waiting sequence must find: 'known', 'final'")] = "known"
    retain: Annotated[
        str, _doc("Whose KV stays pinned after the end: 'none', 'ttl(2s)', 'continuum' or 'groups'")
    ] = "none"
    prefix_wait: Annotated[
        bool, _doc("Wait for a prefix page that another sequence is computing, rather than compute it again")
    ] = True
    pipeline_depth: Annotated[
        int, _doc("Steps in flight besides the current; -1 lets the device choose", ge=-1, le=1)
    ] = -1


class StructuredConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Structured output: which library makes the masks, and what one grammar may take."""

    grammar_backend: Annotated[
        Literal["auto", "xgrammar", "llguidance", "off"],
        _doc("Library that compiles grammars; auto takes the first that is installed, off refuses them"),
    ] = "auto"
    grammar_compile_seconds: Annotated[
        float, _unit("CPU time that compiling one grammar may take", "seconds", gt=0, le=600)
    ] = 5.0
    grammar_compile_memory_bytes: Annotated[
        int, _unit("Memory that compiling one grammar may take", "bytes", ge=1)
    ] = 1024 * 1024 * 1024
    grammar_cache_bytes: Annotated[
        int, _unit("Compiled grammars kept while nobody uses them", "bytes", ge=0)
    ] = 256 * 1024 * 1024
    grammar_preload: Annotated[
        bool,
        _doc(
            "Start a server's compiler of grammars (about 300 MB) as soon as it is ready, not with the first "
            "grammar, which would wait seconds for it"
        ),
    ] = True


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP side."""

    host: Annotated[str, _doc("Address to listen on")] = "127.0.0.1"
    port: Annotated[int, _doc("Port to listen on; 0 picks a free one", ge=0, le=65535)] = 8000
    api_key: Annotated[
        tuple[str, ...], _doc("Bearer keys that are accepted; none leaves the server open")
    ] = ()
    admin_api_key: Annotated[
        tuple[str, ...],
        _doc("Bearer keys that may also reset caches, abort any request and act for any tenant"),
    ] = ()
    keys: Annotated[
        str,
        _doc("TOML file of keys with tenants, weights and limits, re-read when it changes; empty has none"),
    ] = ""
    uds: Annotated[str, _doc("Unix socket to listen on in place of host and port; empty uses those")] = ""
    root_path: Annotated[str, _doc("Path under which a proxy serves this server, such as /llm")] = ""
    ssl_certfile: Annotated[str, _doc("Certificate chain (PEM) to serve HTTPS with; empty serves HTTP")] = ""
    ssl_keyfile: Annotated[
        str, _doc("Private key (PEM) of the certificate; empty finds it in the same file")
    ] = ""
    ssl_ca_certs: Annotated[
        str, _doc("Authorities (PEM) that clients' certificates must come from; empty asks for none")
    ] = ""
    inproc: Annotated[bool, _doc("Run the engine in the API process instead of one of its own")] = False
    drain_timeout: Annotated[float, _unit("How long SIGTERM waits for running requests", "seconds", ge=0)] = (
        30.0
    )
    watchdog_timeout: Annotated[
        float,
        _unit(
            "Time without progress after which the engine counts as hung and is restarted, beyond any step; "
            "0 never",
            "seconds",
            ge=0,
        ),
    ] = 300.0
    start_timeout: Annotated[
        float,
        _unit(
            "Time in which an engine must have started, a download of its model included, or it is ended and "
            "counts as failed; 0 never",
            "seconds",
            ge=0,
        ),
    ] = 600.0
    warm_spare: Annotated[
        bool,
        _doc(
            "Keep a second engine process that has imported its libraries (about 260 MB): restarts take 1 s"
        ),
    ] = True
    client_read_timeout: Annotated[
        float,
        _unit(
            "How long a client may take for a request's head, or pause within its body; 0 for ever",
            "seconds",
            ge=0,
        ),
    ] = 60.0
    client_write_timeout: Annotated[
        float,
        _unit(
            "How long a client may leave its answer unread before the request is aborted; 0 for ever",
            "seconds",
            ge=0,
        ),
    ] = 60.0
    stream_gather: Annotated[
        float,
        _unit(
            "Longest that tokens of busy streams wait for more (at most 0.25 ms per live stream); 0 never",
            "seconds",
            ge=0,
            le=1,
        ),
    ] = 0.02
    stream_interval: Annotated[
        int, _unit("Tokens that a streamed event gathers, except the first and the last", "tokens", ge=1)
    ] = 1
    request_timeout: Annotated[
        float,
        _unit(
            "Longest time from a request to its last token, then it is aborted; 0 sets none", "seconds", ge=0
        ),
    ] = 0.0
    queue_timeout: Annotated[
        float,
        _unit(
            "Longest time from a request to its first token, then it is aborted; 0 sets none", "seconds", ge=0
        ),
    ] = 0.0
    keep_alive_timeout: Annotated[int, _unit("How long an idle connection stays open", "seconds", ge=1)] = 75
    max_connections: Annotated[
        int,
        _unit("Connections above which further ones are answered 503; 0 sets no bound", "connections", ge=0),
    ] = 0
    max_body_bytes: Annotated[int, _unit("Largest request body", "bytes", ge=1024)] = 32 * 1024 * 1024
    responses_bytes: Annotated[
        int,
        _unit("Most that stored responses of /v1/responses may take in memory; 0 stores none", "bytes", ge=0),
    ] = 64 * 1024 * 1024
    responses_ttl: Annotated[
        float, _unit("How long a response of /v1/responses is stored", "seconds", gt=0)
    ] = 3600.0
    tool_call_parser: Annotated[
        Literal[
            "auto",
            "none",
            "hermes",
            "llama3_json",
            "mistral",
            "mistral_args",
            "pythonic",
            "qwen3_coder",
            "glm45",
            "deepseek_v3",
            "deepseek_v31",
            "harmony",
            "qwen",
            "qwen25",
            "qwen3",
            "llama3",
            "llama4_pythonic",
            "qwen3_xml",
            "glm47",
            "deepseek_r1",
            "openai",
            "gpt_oss",
        ],
        _doc("Form in which the model writes tool calls; auto reads it from the chat template"),
    ] = "auto"
    reasoning_parser: Annotated[
        Literal[
            "auto",
            "none",
            "think",
            "mistral",
            "harmony",
            "qwen3",
            "deepseek_r1",
            "deepseek-r1",
            "glm45",
            "openai_gptoss",
            "gpt_oss",
        ],
        _doc("Marks around the model's reasoning; auto reads them from the chat template"),
    ] = "auto"
    enable_auto_tool_choice: Annotated[
        bool, _doc("Let the model decide whether it calls a tool; off takes tool_choice auto for none")
    ] = True
    constrain_tool_calls: Annotated[
        bool, _doc("Constrain calls by grammar, so that every call that is begun parses against its schema")
    ] = True
    allowed_origins: Annotated[tuple[str, ...], _doc("Origins allowed by CORS; none turns CORS off")] = ()
    record_traffic: Annotated[
        str,
        _doc(
            "File to append lengths, times and prefix hashes of requests to, never text; empty records none"
        ),
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _doc("Log verbosity")] = "info"
    log_format: Annotated[
        Literal["text", "json"], _doc("Log lines for people, or one JSON object a line")
    ] = "text"
    enable_log_requests: Annotated[bool, _doc("Log the parameters of every request, without its text")] = (
        False
    )
    log_prompts: Annotated[
        bool, _doc("With enable_log_requests, log the text of prompts too: it may be private")
    ] = False
    record_steps: Annotated[
        str,
        _doc("Journal file of every decision, for calibrate and replay (holds token ids); empty writes none"),
    ] = ""


class ObserveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What operators see: metrics, traces, step traces."""

    metrics_compat: Annotated[
        Literal["vllm", "none"], _doc("Names under which dashboards find metrics besides our own")
    ] = "vllm"
    metrics_tenants: Annotated[
        int,
        _unit(
            "Tenants with series of their own, by first appearance; the others share one",
            "tenants",
            ge=0,
            le=256,
        ),
    ] = 16
    trace_steps: Annotated[
        str,
        _doc("File to write every step and request to, for chrome://tracing or Perfetto; empty writes none"),
    ] = ""
    trace_steps_bytes: Annotated[
        int,
        _unit("Size at which that file is moved to FILE.1 and begun anew", "bytes", ge=4096),
    ] = 256 * 1024 * 1024
    profile_folder: Annotated[
        str,
        _doc(
            "Folder that POST /stop_profile writes torch profiles of the engine's steps to; empty makes none"
        ),
    ] = ""
    profile_seconds: Annotated[
        float, _unit("Time after which a profile ends by itself", "seconds", gt=0, le=3600)
    ] = 60.0
    otlp_traces_endpoint: Annotated[
        str,
        _doc(
            "OTLP endpoint for one span per request, such as http://localhost:4318/v1/traces (needs the "
            "extra otel); empty traces none"
        ),
    ] = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a server or an offline engine is started from."""

    model: ModelConfig = ModelConfig()
    cache: CacheConfig = CacheConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    structured: StructuredConfig = StructuredConfig()
    server: ServerConfig = ServerConfig()
    observe: ObserveConfig = ObserveConfig()
