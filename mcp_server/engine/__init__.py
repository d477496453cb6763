"""Text generation: continuous batching over llama.cpp on one worker thread.

Reading order: types, settings, machine; chat, grammar, sampling; sequence, radix, kv_cache, drafting, scheduler;
native, embedder, model_runner, draft_model; active_request, echo, tally, llm_engine, fork; embedding_jobs, residents,
resident_jobs, background, engine_host; jobs, worker, async_engine. `models` knows what is on disk, `remote` speaks to
other servers, `backends` joins both. `native.llama` imports llama_cpp. Importing this package loads nothing;
`async_engine.AsyncEngine` is what others use.
"""
