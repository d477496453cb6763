"""Text generation: continuous batching over llama.cpp on one worker thread.

Reading order: types, settings; chat_template, vocabulary, grammar; sequence, radix, kv_cache, scheduler; sampler,
kv_layout, context, native_memory, model_runner; active_request, echo, tally, llm_engine, fork; engine_host, worker,
async_engine. Models on disk: gguf_file, catalog, pull. `llama` is the only importer of llama_cpp. Importing this package
loads nothing; `async_engine.AsyncEngine` is what others use.
"""
