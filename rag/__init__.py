"""Index text and retrieve chunks of it: `rag.index.Retrieval`. A leaf: imports nothing else of the project."""
