"""Collections in one PostgreSQL database that many processes on many machines share, with vectors in pgvector.

`store` is the `Store` that the rest of `rag` works with. Imported only where `CINQUE_RAG_DATABASE_URL` is set, since
psycopg and pgvector come with the extra `postgres`.
"""
