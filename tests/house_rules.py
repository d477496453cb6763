"""The house rules as tables: who may import whom, what, and where; read by `test_architecture.py`, and by people."""

OWN = "OWN"  # the importer's own package: the part of its name that the pattern before `.**` matched
SEAM = ("mcp_server.contract", "mcp_server.telemetry")
DOOR = (
    *(OWN, "shim.gateway", "shim.errors", "shim.access", "shim.streaming", "shim.model_names"),
    *("shim.dialects.**", "shim.doors.door"),
    *SEAM,
)
DOMAIN = (OWN, "shim.storage", "shim.errors", *SEAM)

# Who may import whom. `x.**` is x and all below it, `*` is one name. The first line that matches a module decides.
RULES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # nouns know nouns only
    (("**.types",), ("**.types",)),
    # leaves
    (("sandbox.**", "rag.**"), (OWN,)),
    # cores of the MCP server
    (
        ("mcp_server.engine.**", "mcp_server.lens.**", "mcp_server.workspace.**", "mcp_server.routing.**"),
        (OWN, "mcp_server.errors"),
    ),
    (("mcp_server.pipeline.**", "mcp_server.agent.**"), (OWN, "**.types", "mcp_server.errors")),
    # the seam, and what stands beside it
    (("mcp_server.contract", "mcp_server.ports"), ("**.types",)),
    (
        ("mcp_server", "mcp_server.errors", "mcp_server.telemetry", "mcp_server.listening", "mcp_server.jsonrpc_lines"),
        (),
    ),
    (("mcp_server.standard_streams", "mcp_server.admission"), ()),
    (("mcp_server.settings",), ("mcp_server.admission", "sandbox.settings", "rag.settings", "mcp_server.*.settings")),
    (("mcp_server.durable",), ("**.types", "mcp_server.errors")),
    (("mcp_server.tools.**",), (OWN, "mcp_server.capabilities", "mcp_server.errors", *SEAM)),
    # composition root 1: the MCP server process
    (
        (
            "mcp_server.__main__",
            "mcp_server.app",
            "mcp_server.capabilities",
            "mcp_server.deferral",
            "mcp_server.doctor",
            "mcp_server.join",
            "mcp_server.serve",
            "mcp_server.stdio",
            "mcp_server.transports",
        ),
        ("mcp_server.**", "rag.**", "sandbox.**"),
    ),
    # doors: never another door; some have a domain
    (
        ("shim.doors.door",),
        ("shim.gateway", "shim.errors", "shim.model_names", "shim.settings", "mcp_server.admission", *SEAM),
    ),
    (("shim.doors",), ("shim.doors.**",)),
    (("shim.doors.atlas.*.**",), (*DOOR, "shim.doors.atlas.envelope")),  # five doors of one API share an envelope
    (("shim.doors.atlas",), ()),
    (("shim.doors.atmosphere.**",), (*DOOR, "shim.mesh.**")),
    (("shim.doors.atom.**",), (*DOOR, "shim.tenancy.**")),
    (("shim.doors.atoll.**",), (*DOOR, "shim.deployment.**")),
    (("shim.doors.*.**", "shim.console.**"), DOOR),
    (("shim.mesh.**", "shim.tenancy.**", "shim.deployment.**"), DOMAIN),
    (("shim.dialects.**",), (OWN, "shim.errors", *SEAM)),
    # composition root 2: the shim process
    (
        ("shim.__main__", "shim.cli", "shim.serve", "shim.commands.**"),
        ("shim.**", "mcp_server.listening", "mcp_server.deferral", *SEAM),
    ),
    # the machinery that every door stands on
    (("shim.pipes",), ("mcp_server.jsonrpc_lines",)),
    (("shim", "shim.*"), ("shim.*", "shim.dialects.**", "shim.doors.door", "mcp_server.admission", *SEAM)),
)

# Heavy or replaceable libraries, each with the only files that may import it.
MCP = ("mcp_server/app.py", "mcp_server/tools/*.py", "mcp_server/jsonrpc_lines.py", "shim/mcp_connection.py")
LIBRARIES: dict[str, tuple[str, ...]] = {
    "llama_cpp": (
        "mcp_server/engine/native/llama.py",
        "mcp_server/engine/native/devices.py",
    ),
    "faiss": ("rag/dense.py",),
    "re2": ("rag/matching.py",),
    "sentence_transformers": ("rag/torch_model.py",),
    "transformers": ("rag/torch_model.py",),  # to set its verbosity
    "torch": ("rag/torch_model.py",),  # to set its number of threads, and to export
    "openvino": ("rag/openvino_model.py",),
    "onnxruntime": ("rag/onnx_model.py",),
    "huggingface_hub": ("rag/weights.py", "mcp_server/engine/models/pull.py"),  # one download each: weights, models
    "tokenizers": ("rag/static_embedding.py", "rag/text_model.py"),  # the instant model, and every other
    "watchfiles": ("rag/watching.py",),
    "psycopg": ("rag/postgres/*.py",),
    "pgvector": ("rag/postgres/*.py",),
    "zenoh": ("shim/mesh/*.py",),
    "dbos": ("mcp_server/durable.py",),
    "mcp": (*MCP, "mcp_server/stdio.py", "mcp_server/transports.py", "shim/progress.py"),
    "mcp_types": (*MCP, "shim/progress.py"),
}

# What a package is imported as where that is not its name, and what arrives only with another package.
DISTRIBUTIONS: dict[str, str] = {
    "_pytest": "pytest",
    "faiss": "faiss-cpu",
    "httpx2": "huggingface-hub",
    "llama_cpp": "llama-cpp-python",
    "mcp_types": "mcp",
    "re2": "google-re2",
    "torch": "sentence-transformers",
    "transformers": "sentence-transformers",
    "typing_extensions": "pydantic",
}

# What may be imported inside a function, by which file, and why. Nothing else may: it would hide a cycle.
LAZY: dict[tuple[str, str], str] = {
    ("mcp_server/__main__.py", "mcp_server.serve"): "joining a running engine must not wait for the MCP SDK (0.5 s)",
    ("mcp_server/engine/async_engine.py", "mcp_server.engine.engine_host"): "loads llama.cpp, in the worker's thread",
    ("mcp_server/capabilities.py", "sandbox.analysis"): "0.06 s of patterns; most sessions explain no failure",
    ("mcp_server/doctor.py", "mcp_server.engine.remote.engine"): "as in mcp_server/engine/backends.py",
    (
        "mcp_server/engine/backends.py",
        "mcp_server.engine.remote.engine",
    ): "loads httpx, 0.2 s; few machines need it",
    (
        "mcp_server/engine/probe.py",
        "mcp_server.engine.native.devices",
    ): "loads llama.cpp; the doctor only reads",
    ("mcp_server/engine/models/pull.py", "httpx2"): "comes with huggingface_hub",
    ("mcp_server/engine/models/pull.py", "huggingface_hub"): "0.4 s; most starts download nothing",
    ("rag/dense.py", "faiss"): "0.15 s; lexical retrieval needs no vectors",
    ("rag/onnx_model.py", "onnxruntime"): "0.2 s, and an extra",
    ("rag/ignore.py", "pathspec"): "0.02 s of the handshake; most starts index nothing",
    ("rag/index.py", "rag.parts"): "loads NumPy, 0.1 s of the handshake",
    ("rag/opening.py", "rag.folder_store"): "as rag.parts",
    ("rag/opening.py", "rag.postgres.catalog"): "psycopg is an extra",
    ("rag/opening.py", "rag.postgres.database"): "as rag.postgres.catalog",
    ("rag/opening.py", "rag.postgres.store"): "as rag.postgres.catalog",
    ("rag/matching.py", "re2"): "few sessions search by pattern",
    ("rag/searching.py", "pathspec"): "as in rag/ignore.py",
    ("rag/static_embedding.py", "tokenizers"): "0.05 s; lexical retrieval needs no tokens",
    ("rag/openvino_model.py", "openvino"): "0.2 s; its telemetry is hidden first",
    ("rag/text_model.py", "tokenizers"): "as in rag/static_embedding.py",
    ("rag/torch_model.py", "sentence_transformers"): "4 s; only torch itself and the first start need it",
    ("rag/torch_model.py", "torch"): "as sentence_transformers",
    ("rag/torch_model.py", "transformers"): "as sentence_transformers",
    ("rag/watching.py", "watchfiles"): "0.1 s with anyio; most sessions watch nothing",
    ("rag/weights.py", "huggingface_hub"): "0.4 s; weights on disk need no hub",
    ("sandbox/inside/linter.py", "pylint"): "only the zygote that rates code pays for it",
    ("sandbox/inside/under_pytest.py", "_pytest"): "as pytest",
    ("sandbox/inside/under_pytest.py", "pytest"): "only tests that need it pay for it",
}

# Where any exception is caught and not raised again at the end of its handler, and what becomes of it.
BOUNDARIES: dict[str, str] = {
    "mcp_server/app.py": "tool guard: logged, then a structured tool error",
    "mcp_server/engine/llm_engine.py": "what one sequence writes: logged, then the error of its request alone",
    "mcp_server/engine/engine_host.py": "one job, load or beat: logged, then the error of its requests alone",
    "mcp_server/stdio.py": "one joined session among others: logged, then that session ends",
    "mcp_server/engine/remote/relay.py": "carried out of a task group that would wrap it, then raised again",
    "mcp_server/engine/worker.py": "worker thread: logged, then the error of every request it served",
    "rag/readiness.py": "thread behind the queries: logged, then they are answered by words and static vectors",
    "rag/filling.py": "thread behind the calls: logged, then that collection waits until somebody indexes it again",
    "shim/app.py": "door: logged, then the door's own 500",
    "shim/streaming.py": "door, after the first byte: logged, then an error frame of the dialect",
    "shim/commands/running.py": "command line: a person's mistake is told in one line, a defect is raised again",
    "shim/progress.py": "carried out of a task group that would wrap it, then raised again",
    "sandbox/inside/*.py": "beside the untrusted program: whatever it raises is its result and not our failure",
}
