"""Text generation: continuous batching over llama.cpp on one worker thread.

Reading order: types, settings; chat_template, vocabulary, grammar; sequence, kv_cache, scheduler; sampler, context,
model_runner; llm_engine, engine_host, worker, async_engine. Models on disk: gguf_file, catalog, pull. `llama` is the
only importer of llama_cpp. Importing this package loads nothing; `async_engine.AsyncEngine` is what others use.
"""
